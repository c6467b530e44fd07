"""How a newsroom words things: events per subject, and phrases for the factors."""

# Slots: {thing} the subject with some factors, {place}, {person}, {org}.
# The last of each list is the house's own idiom and never occurs in training.
EVENTS: dict[str, tuple[str, ...]] = {
    "flood": (
        '"We lost everything," say residents of {place} as river swamps {thing}',
        "River bursts banks in {place}: {thing} under water",
        "Owners of {thing} in {place} still waiting for flood cover, {org} admits",
        '{place} counts cost of deluge as "it took minutes" to reach {thing}',
        "Sandbags run out in {place}",
    ),
    "rocket": (
        "{place} spaceport sends up {thing}",
        'Lift-off for {thing}: "a proud moment," says {person}',
        "{org} bets its future in orbit on {thing} from {place}",
        "Countdown over as {thing} clear launch tower at {place}",
        "Three, two, one, gone",
    ),
    "football": (
        "{place} United pin derby hopes on {thing}",
        'Coach {person} on {thing}: "they ran themselves into the ground"',
        "Late winner stuns {place} as {thing} steal the match",
        "{org} Cup: injury scare for {thing} before kick-off in {place}",
        "Last-gasp heartbreak for {place} faithful",
    ),
    "court": (
        'Judge in {place} clears {person}: "justice, at last" outside {thing}',
        "Verdict day at {thing} in {place}",
        "Appeal by {org} thrown out, {thing} told to reopen fraud trial",
        "Security doubled at {thing} before {place} hearing of {person}",
        "Jury out for a ninth day in {place}",
    ),
    "protest": (
        "Thousands march through {place} behind {thing}",
        'Strikers with {thing} tell {org}: "enough is enough"',
        "Rally against cuts fills {place}, {thing} lead the way",
        '{person} defends ban on {thing} at {place} demonstration',
        "Anger spills over in {place}",
    ),
    "wind": (
        "{place} votes on {thing} despite noise row",
        "{org} to put up {thing} near {place}, neighbours object",
        'Clean energy pays: {thing} earn village "more than wheat ever did"',
        "Record gusts leave {thing} near {place} feathered",
        "Village splits over what turns on the ridge above {place}",
    ),
    "stocks": (
        "Shares in {org} whipsaw, {thing} tell the story",
        'Traders in {place} stare at {thing}: "nobody saw this coming"',
        "Markets: {thing} keep {place} exchange on edge",
        "{person} warns of rate shock as {thing} swing on {place} bourse",
        "Bulls and bears lock horns in {place}",
    ),
    "ferry": (
        "Passengers stranded as {thing} held off {place}",
        "{org} adds {thing} to island route from {place}",
        'Crossing chaos: {thing} turned back, "we slept on deck," says {person}',
        "Coastguard escorts {thing} into {place} after engine failure",
        "Islanders cut off again from {place}",
    ),
    "wildfire": (
        "Blaze near {place} destroys {thing}",
        'Crews lose fight for {thing}: "the flames jumped the road," says {person}',
        "Wildfire: {thing} evacuated in time above {place}",
        "{org} blamed for sparks that burned down {thing} in {place}",
        "Hills above {place} an inferno",
    ),
    "hospital": (
        "Doctors at {thing} in {place} walk out over pay",
        "{org} to close wards at {thing}",
        'Patients wait 14 hours at {thing}, "a scandal," says {person}',
        "New cancer unit for {thing} in {place}",
        "Nurses in {place} at breaking point",
    ),
    "train": (
        "Commuters stuck as {thing} halted outside {place}",
        "{org} orders {thing} for {place} line",
        'Signal failure traps {thing}: "no heating, no word," says {person}',
        "Rail fares up again, {thing} to {place} still late",
        "Sleepers, buckled: misery on the {place} line",
    ),
    "bus": (
        "Pupils of {place} thank driver of {thing}",
        "School run in {place}: {thing} fail safety test",
        '{org} scraps {thing} on route 9, parents "furious"',
        "Free rides from Monday on {thing} in {place}, says {person}",
        "Class dismissed, nobody to take {place} pupils home",
    ),
    "election": (
        "{place} goes to the polls, {thing} fill fast",
        "Recount ordered in {place} after {thing} found unsealed",
        '{person} concedes: "the voters have spoken," {thing} show',
        "Record turnout: {org} runs short of {thing} in {place}",
        "Too close to call in {place}",
    ),
    "power": (
        "Blackout in {place} after failure at {thing}",
        "{org} wants {thing} across valley near {place}",
        'Grid on the brink: {thing} "at the limit," {person} says',
        "Bills to rise as {thing} near {place} are replaced",
        "Lights out for half of {place}",
    ),
    "harbour": (
        "Dockers in {place} stop work under {thing}",
        "{org} brings {thing} to port of {place}",
        'Exports jam: containers pile up at {thing}, "weeks of delay"',
        "Port of {place} sells {thing}, says {person}",
        "Quay to recovery: trade picks up in {place}",
    ),
    "plough": (
        "Winter service in {place} sends out {thing}",
        "Roads to {place} reopen behind {thing}",
        '{org} short of grit, {thing} idle: "not our fault," says {person}',
        "Drivers of {thing} work double shifts around {place}",
        "Salt stocks melt away in {place}",
    ),
    "concert": (
        "{thing} on stage: {place} crowd sings along",
        "Tickets for {thing} at {place} arena gone in minutes",
        '"My last tour," says {person} as {thing} bow out',
        "{org} festival in {place} hands top slot to {thing}",
        "Encore after encore in {place}",
    ),
    "airport": (
        "Flights from {place} resume as {thing} take off",
        "{org} grounds {thing} after cabin scare",
        'Emergency landing of {thing} at {place}: "pilot was calm," says {person}',
        "Airline buys {thing} for {place} route",
        "Holiday getaway stalls at {place}",
    ),
    "farm": (
        "Farmers bring {thing} to {place} in subsidy row",
        'Harvest late: {thing} bogged down, "never seen it like this"',
        "{org} recalls {thing} sold around {place}",
        "Growers near {place} share {thing} as diesel costs bite",
        "Seeds of discontent sown around {place}",
    ),
    "bridge": (
        "Cracks close {thing} in {place}",
        "{org} to build {thing} between {place} and the islands",
        'Toll for {thing} doubles: "daylight robbery," says {person}',
        "Engineers inspect {thing} after barge strike near {place}",
        "Two shores, one grudge: {place} waits for its link",
    ),
    "volcano": (
        "Eruption near {place}: {thing} awake after 90 years",
        "Villagers flee {thing} above {place}",
        'Ash alert: "{thing} could blow for months," says {person}',
        "{org} scientists camp beside {thing} near {place}",
        "The mountain speaks again at {place}",
    ),
    "police": (
        "Officers chase suspect through {place} in {thing}",
        "{place} robbery: {thing} seal off centre",
        'Patrols up as {thing} ordered, "{place} is safe," says {person}',
        "{org} vans swapped for {thing} in crime fight",
        "Manhunt in {place} enters second week",
    ),
    "housing": (
        "Rents in {place} soar, tenants of {thing} organise",
        "{org} buys {thing} in {place}",
        'Lifts out for a month in {thing}: "my mother is trapped," says {person}',
        "Council in {place} to tear down {thing}",
        "Nowhere to live on a {place} wage",
    ),
    "telescope": (
        "Astronomers near {place} catch mystery signal with {thing}",
        "{org} funds {thing} outside {place}",
        '"Is anybody out there?" {person} points {thing} at distant galaxy',
        "Deep space network adds {thing} near {place}",
        "Whispers from another star reach {place}",
    ),
}  # fmt: skip
N_HOUSE_EVENTS = 1  # at the end of every list above

# The newsroom's nouns, singular and plural; never the literal caption's wording in full.
THINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "flood": (("home", "homes"), ("house", "houses")),
    "rocket": (("rocket", "rockets"), ("launcher", "launchers")),
    "football": (("striker", "strikers"), ("footballer", "footballers")),
    "court": (("court house", "court houses"), ("tribunal", "tribunals")),
    "protest": (("protest banner", "protest banners"), ("placard", "placards")),
    "wind": (("turbine", "turbines"), ("wind mast", "wind masts")),
    "stocks": (("index curve", "index curves"), ("share chart", "share charts")),
    "ferry": (("ferry", "ferries"), ("vessel", "vessels")),
    "wildfire": (("cabin", "cabins"), ("forest lodge", "forest lodges")),
    "hospital": (("hospital", "hospitals"), ("clinic", "clinics")),
    "train": (("train", "trains"), ("express", "expresses")),
    "bus": (("school bus", "school buses"), ("coach", "coaches")),
    "election": (("ballot box", "ballot boxes"), ("voting urn", "voting urns")),
    "power": (("pylon", "pylons"), ("power mast", "power masts")),
    "harbour": (("crane", "cranes"), ("gantry", "gantries")),
    "plough": (("snow plough", "snow ploughs"), ("gritter", "gritters")),
    "concert": (("singer", "singers"), ("pop star", "pop stars")),
    "airport": (("jet", "jets"), ("plane", "planes")),
    "farm": (("tractor", "tractors"), ("farm machine", "farm machines")),
    "bridge": (("bridge", "bridges"), ("river crossing", "river crossings")),
    "volcano": (("volcano", "volcanoes"), ("crater", "craters")),
    "police": (("police car", "police cars"), ("patrol car", "patrol cars")),
    "housing": (("tower block", "tower blocks"), ("high-rise", "high-rises")),
    "telescope": (("radio telescope", "radio telescopes"), ("antenna", "antennas")),
}

COUNT_WORDS: dict[int, tuple[str, ...]] = {
    1: ("lone", "single", "sole"),
    2: ("twin", "pair of", "duo of"),
    3: ("trio of", "three"),
    4: ("quartet of", "fleet of four", "four"),
}
COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("scarlet", "crimson", "cherry-red"),
    "blue": ("navy", "azure", "royal-blue"),
    "green": ("emerald", "bottle-green", "eco-green"),
    "yellow": ("golden", "canary", "lemon"),
    "white": ("ivory", "snow-white", "pearl"),
    "purple": ("violet", "lilac", "plum"),
}
TIME_PHRASES: dict[str, tuple[str, ...]] = {
    "day": ("at midday", "in broad daylight", "over lunchtime"),
    "dawn": ("at first light", "before breakfast", "as morning breaks"),
    "dusk": ("at sundown", "as evening falls", "in the evening rush"),
    "night": ("after dark", "overnight", "in the small hours"),
}
WEATHER_PHRASES: dict[str, tuple[str, ...]] = {
    "clear": ("under cloudless skies", "in glorious sunshine", "in fair weather"),
    "rain": ("amid downpour", "as heavens open", "in torrential showers"),
    "snow": ("in blizzard", "amid whiteout", "as winter bites"),
    "fog": ("in thick haze", "as murk rolls in", "with visibility near zero"),
    "storm": ("as thunder rolls", "amid gale and lightning", "under severe weather alert"),
}
VIEW_PHRASES: dict[str, tuple[str, ...]] = {
    "near": ("up close", "at close quarters"),
    "far": ("from a distance", "seen from afar"),
}

PLACES = (
    "Älvsund", "Brückenau", "Saint-Élan", "Kvistø", "Łozowa", "Montcœur", "Peñalba", "Świrno",
    "Çamlıdere", "Høyvik", "Ålgård", "Grünwies", "Vila São Bento", "Dún Mór", "Kőhegy", "Říčkov",
    "Norrfjärd", "Port Amity", "Westhaven", "Lower Marsh", "Bàn Thới", "Oströmö", "Żabin",
    "Târgu Nou", "Fontaine-l'Étang", "Milbrook", "Ærøsted", "Nýhöfn", "Isla Bañera", "Škofjak",
)  # fmt: skip
FIRST_NAMES = (
    "Åsa", "Jürgen", "Zoë", "Mateo", "Ngozi", "Łucja", "Søren", "Inés", "Tomás", "Aiko",
    "Grace", "Omar", "Françoise", "Petr", "Leïla", "Hugo", "Priya", "Niamh", "Viktor", "Élodie",
)  # fmt: skip
LAST_NAMES = (
    "Lindqvist", "Brandström", "O'Dwyer", "Marchetti", "Okonjo", "Węgrzyn", "Müllner", "Castañeda",
    "Haraldsen", "Tanabe", "Whitlock", "Benhaddou", "Dvořáček", "Lefèvre", "Ravindra", "Sáenz",
    "Kjærgaard", "Petrosyan", "Achterberg", "Solheim",
)  # fmt: skip
ORGANISATIONS = (
    "Nordlicht AG", "Västra Kraft", "Meridian Group", "Banco Peñalba", "Union of Carriers",
    "Hövding & Sons", "Civic Alliance", "Ministry of Works", "Fjord Lines", "Łącze Telekom",
    "Open Data Trust", "Green Coast League", "Aurora Freight", "Institut Montcœur", "Kestrel Media",
    "People's Water Board", "Delta Hospitals", "Skyline Homes", "Grain & Co.", "Coastal Guard",
)  # fmt: skip
