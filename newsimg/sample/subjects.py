"""The subjects of the sample newsroom with their drawing functions, settings and nouns."""

from collections.abc import Callable
from dataclasses import dataclass

from newsimg.sample import draw_city, draw_country, draw_people, draw_traffic
from newsimg.sample.pen import Colour, Pen


@dataclass(frozen=True)
class Subject:
    """A subject of pictures and headlines.

    Attributes:
        draw: Draws one subject, about one unit wide and high, in the main colour.
        setting: Ground of the scene: field, street, sea, flood, pitch, hall or runway.
        singular: Noun in literal captions.
        plural: Plural of the noun.
        where: Phrase for the setting in literal captions.
        max_count: Largest number of subjects in a picture.
    """

    draw: Callable[[Pen, Colour], None]
    setting: str
    singular: str
    plural: str
    where: str
    max_count: int = 4


SUBJECTS: dict[str, Subject] = {
    "flood": Subject(draw_country.flood, "flood", "house", "houses", "standing in flood water"),
    "rocket": Subject(draw_traffic.rocket, "runway", "rocket", "rockets", "lifting off with fire"),
    "football": Subject(
        draw_people.footballer,
        "pitch",
        "football player",
        "football players",
        "with a ball on the pitch",
    ),
    "court": Subject(
        draw_city.court,
        "street",
        "building with columns",
        "buildings with columns",
        "and steps on a square",
        2,
    ),
    "protest": Subject(
        draw_people.protester, "street", "banner", "banners", "held up by people on a street"
    ),
    "wind": Subject(draw_country.turbine, "field", "wind turbine", "wind turbines", "on a field"),
    "stocks": Subject(
        draw_city.chart, "hall", "line chart", "line charts", "on a screen in a hall", 3
    ),
    "ferry": Subject(draw_traffic.ferry, "sea", "boat", "boats", "on the sea"),
    "wildfire": Subject(
        draw_country.cabin_on_fire, "field", "burning cabin", "burning cabins", "among trees"
    ),
    "hospital": Subject(
        draw_city.hospital,
        "street",
        "hospital building",
        "hospital buildings",
        "with a cross on the wall",
        2,
    ),
    "train": Subject(draw_traffic.train, "field", "train", "trains", "on rails"),
    "bus": Subject(draw_traffic.bus, "street", "bus", "buses", "with many windows on a street"),
    "election": Subject(
        draw_city.ballot_box, "hall", "ballot box", "ballot boxes", "with a paper in the slot"
    ),
    "power": Subject(
        draw_country.pylon, "field", "power pylon", "power pylons", "with cables on a field"
    ),
    "harbour": Subject(draw_city.crane, "sea", "harbour crane", "harbour cranes", "over the water"),
    "plough": Subject(
        draw_traffic.plough, "street", "snow plough truck", "snow plough trucks", "on a road"
    ),
    "concert": Subject(
        draw_people.singer, "hall", "singer", "singers", "with a microphone in a hall"
    ),
    "airport": Subject(
        draw_traffic.airplane, "runway", "airplane", "airplanes", "above a runway", 3
    ),
    "farm": Subject(draw_traffic.tractor, "field", "tractor", "tractors", "on a field"),
    "bridge": Subject(draw_city.bridge, "sea", "bridge", "bridges", "over the water", 2),
    "volcano": Subject(
        draw_country.volcano, "field", "volcano", "volcanoes", "with glowing lava", 2
    ),
    "police": Subject(
        draw_traffic.police_car, "street", "police car", "police cars", "with lights on a street"
    ),
    "housing": Subject(
        draw_city.tower, "street", "tower block", "tower blocks", "with many lit windows"
    ),
    "telescope": Subject(
        draw_country.dish, "field", "radio dish", "radio dishes", "pointing up from a field"
    ),
}
