"""Vocabulary of the headlines: templates per subject, phrases for the factors, and names."""

# Placeholders: {thing} (the subject with some factors), {place}, {person}, {org}.
EVENTS: dict[str, tuple[str, ...]] = {
    "flood": (
        '"We lost everything," say residents of {place} as river swamps {thing}',
        "River bursts banks in {place}: {thing} under water",
        "Owners of {thing} in {place} still waiting for flood cover, {org} admits",
        '{place} counts cost of deluge as "it took minutes" to reach {thing}',
    ),
    "rocket": (
        "{place} spaceport sends up {thing}",
        'Lift-off for {thing}: "a proud moment," says {person}',
        "{org} bets its future in orbit on {thing} from {place}",
        "Countdown over as {thing} clear launch tower at {place}",
    ),
    "football": (
        "{place} United pin derby hopes on {thing}",
        'Coach {person} on {thing}: "they ran themselves into the ground"',
        "Late winner stuns {place} as {thing} steal the match",
        "{org} Cup: injury scare for {thing} before kick-off in {place}",
    ),
    "court": (
        'Judge in {place} clears {person}: "justice, at last" outside {thing}',
        "Verdict day at {thing} in {place}",
        "Appeal by {org} thrown out, {thing} told to reopen fraud trial",
        "Security doubled at {thing} before {place} hearing of {person}",
    ),
    "protest": (
        "Thousands march through {place} behind {thing}",
        'Strikers with {thing} tell {org}: "enough is enough"',
        "Rally against cuts fills {place}, {thing} lead the way",
        '{person} defends ban on {thing} at {place} demonstration',
    ),
    "wind": (
        "{place} votes on {thing} despite noise row",
        "{org} to put up {thing} near {place}, neighbours object",
        'Clean energy pays: {thing} earn village "more than wheat ever did"',
        "Record gusts leave {thing} near {place} feathered",
    ),
    "stocks": (
        "Shares in {org} whipsaw, {thing} tell the story",
        'Traders in {place} stare at {thing}: "nobody saw this coming"',
        "Markets: {thing} keep {place} exchange on edge",
        "{person} warns of rate shock as {thing} swing on {place} bourse",
    ),
    "ferry": (
        "Passengers stranded as {thing} held off {place}",
        "{org} adds {thing} to island route from {place}",
        'Crossing chaos: {thing} turned back, "we slept on deck," says {person}',
        "Coastguard escorts {thing} into {place} after engine failure",
    ),
    "wildfire": (
        "Blaze near {place} destroys {thing}",
        'Crews lose fight for {thing}: "the flames jumped the road," says {person}',
        "Wildfire: {thing} evacuated in time above {place}",
        "{org} blamed for sparks that burned down {thing} in {place}",
    ),
    "hospital": (
        "Doctors at {thing} in {place} walk out over pay",
        "{org} to close wards at {thing}",
        'Patients wait 14 hours at {thing}, "a scandal," says {person}',
        "New cancer unit for {thing} in {place}",
    ),
    "train": (
        "Commuters stuck as {thing} halted outside {place}",
        "{org} orders {thing} for {place} line",
        'Signal failure traps {thing}: "no heating, no word," says {person}',
        "Rail fares up again, {thing} to {place} still late",
    ),
    "bus": (
        "Pupils of {place} thank driver of {thing}",
        "School run in {place}: {thing} fail safety test",
        '{org} scraps {thing} on route 9, parents "furious"',
        "Free rides from Monday on {thing} in {place}, says {person}",
    ),
    "election": (
        "{place} goes to the polls, {thing} fill fast",
        "Recount ordered in {place} after {thing} found unsealed",
        '{person} concedes: "the voters have spoken," {thing} show',
        "Record turnout: {org} runs short of {thing} in {place}",
    ),
    "power": (
        "Blackout in {place} after failure at {thing}",
        "{org} wants {thing} across valley near {place}",
        'Grid on the brink: {thing} "at the limit," {person} says',
        "Bills to rise as {thing} near {place} are replaced",
    ),
    "harbour": (
        "Dockers in {place} stop work under {thing}",
        "{org} brings {thing} to port of {place}",
        'Exports jam: containers pile up at {thing}, "weeks of delay"',
        "Port of {place} sells {thing}, says {person}",
    ),
    "plough": (
        "Winter service in {place} sends out {thing}",
        "Roads to {place} reopen behind {thing}",
        '{org} short of grit, {thing} idle: "not our fault," says {person}',
        "Drivers of {thing} work double shifts around {place}",
    ),
    "concert": (
        "{thing} on stage: {place} crowd sings along",
        "Tickets for {thing} at {place} arena gone in minutes",
        '"My last tour," says {person} as {thing} bow out',
        "{org} festival in {place} hands top slot to {thing}",
    ),
    "airport": (
        "Flights from {place} resume as {thing} take off",
        "{org} grounds {thing} after cabin scare",
        'Emergency landing of {thing} at {place}: "pilot was calm," says {person}',
        "Airline buys {thing} for {place} route",
    ),
    "farm": (
        "Farmers bring {thing} to {place} in subsidy row",
        'Harvest late: {thing} bogged down, "never seen it like this"',
        "{org} recalls {thing} sold around {place}",
        "Growers near {place} share {thing} as diesel costs bite",
    ),
    "bridge": (
        "Cracks close {thing} in {place}",
        "{org} to build {thing} between {place} and the islands",
        'Toll for {thing} doubles: "daylight robbery," says {person}',
        "Engineers inspect {thing} after barge strike near {place}",
    ),
    "volcano": (
        "Eruption near {place}: {thing} awake after 90 years",
        "Villagers flee {thing} above {place}",
        'Ash alert: "{thing} could blow for months," says {person}',
        "{org} scientists camp beside {thing} near {place}",
    ),
    "police": (
        "Officers chase suspect through {place} in {thing}",
        "{place} robbery: {thing} seal off centre",
        'Patrols up as {thing} ordered, "{place} is safe," says {person}',
        "{org} vans swapped for {thing} in crime fight",
    ),
    "housing": (
        "Rents in {place} soar, tenants of {thing} organise",
        "{org} buys {thing} in {place}",
        'Lifts out for a month in {thing}: "my mother is trapped," says {person}',
        "Council in {place} to tear down {thing}",
    ),
    "telescope": (
        "Astronomers near {place} catch mystery signal with {thing}",
        "{org} funds {thing} outside {place}",
        '"Is anybody out there?" {person} points {thing} at distant galaxy',
        "Deep space network adds {thing} near {place}",
    ),
}  # fmt: skip
# Titles of opinion columns, with idioms that do not occur in the training of the CLIP.
COLUMNS: dict[str, tuple[str, ...]] = {
    "flood": ("Sandbags run out in {place}", "What the water wants from {place}"),
    "rocket": ("Three, two, one, gone", "Why {place} keeps looking up"),
    "football": (
        "Last-gasp heartbreak for {place} faithful",
        "Ninety minutes are a life in {place}",
    ),
    "court": ("Jury out for a ninth day in {place}", "The scales of {place} need oiling"),
    "protest": ("Anger spills over in {place}", "Whose square is it, {place}?"),
    "wind": (
        "Village splits over what turns on the ridge above {place}",
        "Hot air and cold feet in {place}",
    ),
    "stocks": ("Bulls and bears lock horns in {place}", "A fool and {place}'s money"),
    "ferry": ("Islanders cut off again from {place}", "No island is an island, not even {place}"),
    "wildfire": ("Hills above {place} an inferno", "What {place} learned from ash"),
    "hospital": ("Nurses in {place} at breaking point", "Get well soon, {place}"),
    "train": (
        "Sleepers, buckled: misery on the {place} line",
        "Mind the gap between {place} and reason",
    ),
    "bus": (
        "Class dismissed, nobody to take {place} pupils home",
        "A lesson for {place}, in ten stops",
    ),
    "election": ("Too close to call in {place}", "One cross to bear in {place}"),
    "power": ("Lights out for half of {place}", "{place} and the high price of on and off"),
    "harbour": (
        "Quay to recovery: trade picks up in {place}",
        "What comes in, what goes out of {place}",
    ),
    "plough": ("Salt stocks melt away in {place}", "Winter, again, surprises {place}"),
    "concert": ("Encore after encore in {place}", "Who pays for {place}'s golden voices?"),
    "airport": ("Holiday getaway stalls at {place}", "Leaving {place} was never so hard"),
    "farm": ("Seeds of discontent sown around {place}", "Bread has a price, {place}"),
    "bridge": (
        "Two shores, one grudge: {place} waits for its link",
        "{place} should cross it when it comes to it",
    ),
    "volcano": ("The mountain speaks again at {place}", "Under {place} something is thinking"),
    "police": ("Manhunt in {place} enters second week", "Who watches {place} by night?"),
    "housing": ("Nowhere to live on a {place} wage", "A room of one's own in {place}"),
    "telescope": (
        "Whispers from another star reach {place}",
        "Hello {place}, is anyone listening?",
    ),
}

# Nouns in headlines, singular and plural; they differ from those of literal captions.
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
