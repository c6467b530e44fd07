"""XMP packets: texts by field.

ISO 16684-1 (2019), "XMP: data model, serialization and core properties"; IPTC (2014), "IPTC Photo
Metadata Standard 2014".
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_BYTES = 1 << 20
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
DC = "{http://purl.org/dc/elements/1.1/}"
PHOTOSHOP = "{http://ns.adobe.com/photoshop/1.0/}"
CORE = "{http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/}"
RIGHTS = "{http://ns.adobe.com/xap/1.0/rights/}"
CC = "{http://creativecommons.org/ns#}"
# The first property with a value is used.
FIELDS = {
    "title": (PHOTOSHOP + "Headline", DC + "title"),  # a title often is only a reference
    "caption": (DC + "description",),
    "date": (PHOTOSHOP + "DateCreated",),
    "credit": (PHOTOSHOP + "Credit",),
    "source": (PHOTOSHOP + "Source",),
    "author": (DC + "creator",),
    "licence": (CC + "license", RIGHTS + "UsageTerms", DC + "rights"),
    "page_url": (CC + "attributionURL", RIGHTS + "WebStatement"),
}
PLACES = (CORE + "Location", PHOTOSHOP + "City", PHOTOSHOP + "State", PHOTOSHOP + "Country")


def read_xmp(packet: bytes) -> dict[str, Any]:
    """Return the texts of an XMP packet by field.

    Raises:
        ValueError: If it is larger than the limit, has a document type (which may hold entities
            that expand without limit), or is no XML.
    """
    if len(packet) > MAX_BYTES:
        raise ValueError(f"{len(packet)} bytes of XMP, the limit is {MAX_BYTES}")
    found: dict[str, list[str]] = {}
    root = _parse(packet.rstrip(b"\0 "))
    # Properties are found without recursion, however deep the packet is nested.
    block = root if root.tag == RDF + "RDF" else root.find(RDF + "RDF")
    for description in [] if block is None else block.findall(RDF + "Description"):
        for name, text in description.attrib.items():
            found.setdefault(name, []).append(text)
        for element in description:
            found.setdefault(element.tag, []).extend(_list_values(element))
    values: dict[str, Any] = {
        field: next((text for name in names for text in found.get(name, []) if text), "")
        for field, names in FIELDS.items()
    }
    values["author"] = ", ".join(filter(None, found.get(DC + "creator", [])))
    values["keywords"] = found.get(DC + "subject", [])
    values["place"] = ", ".join(text for name in PLACES for text in found.get(name, [])[:1] if text)
    return values


def _parse(packet: bytes) -> "Element":
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        try:
            return fromstring(packet, forbid_dtd=True)
        except ParseError:  # some programs write Latin-1 and declare UTF-8
            return fromstring(packet.decode("utf-8", "replace").encode(), forbid_dtd=True)
    except (ParseError, DefusedXmlException) as error:
        raise ValueError(f"XMP that cannot be read: {error}") from error


def _list_values(element: "Element") -> Iterator[str]:
    """Yield the texts of a property; of alternative languages the default first."""
    if len(element) == 0:
        yield element.get(RDF + "resource") or (element.text or "").strip()
        return
    items = element[0].findall(RDF + "li")
    if element[0].tag == RDF + "Alt":
        language = "{http://www.w3.org/XML/1998/namespace}lang"
        items.sort(key=lambda item: item.get(language) != "x-default")
    for item in items:
        yield (item.text or "").strip()
