"""The vocabulary of the minimal pairs: frequent, concrete words that a small model of stories and old novels knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tools.reference.grammar.tokens import Token

Number = Literal["sg", "pl"]


def other(number: Number) -> Number:
    """The opposite number."""
    return "pl" if number == "sg" else "sg"


@dataclass(frozen=True)
class Noun:
    """A count noun with both its forms."""

    singular: str
    plural: str

    @property
    def sg(self) -> Token:
        return Token(self.singular, "NOUN")

    @property
    def pl(self) -> Token:
        return Token(self.plural, "NOUN")

    def form(self, number: Number) -> Token:
        return self.sg if number == "sg" else self.pl


@dataclass(frozen=True)
class Verb:
    """A verb with its whole paradigm."""

    base_form: str
    third_person: str
    past_form: str
    past_participle: str
    gerund_form: str

    @property
    def base(self) -> Token:
        return Token(self.base_form, "VERB")

    @property
    def third(self) -> Token:
        return Token(self.third_person, "VERB")

    @property
    def past(self) -> Token:
        return Token(self.past_form, "VERB")

    @property
    def participle(self) -> Token:
        return Token(self.past_participle, "VERB")

    @property
    def gerund(self) -> Token:
        return Token(self.gerund_form, "VERB")

    def present(self, number: Number) -> Token:
        """The present-tense form that agrees with a third-person subject of this number."""
        return self.third if number == "sg" else self.base


def _nouns(text: str) -> tuple[Noun, ...]:
    """Nouns from "sg" (regular) or "sg/pl" items."""
    out = []
    for item in text.split():
        singular, _, plural = item.partition("/")
        out.append(Noun(singular, plural or (singular + ("es" if singular.endswith(("s", "x", "ch", "sh")) else "s"))))
    return tuple(out)


def _tokens(text: str, tag: str) -> tuple[Token, ...]:
    return tuple(Token(word, tag) for word in text.split())


# Nouns ----------------------------------------------------------------------------------------------------------------
HE_REGULAR = _nouns("boy king prince father brother uncle son")
HE = HE_REGULAR + _nouns("man/men")
"""People who are "he"."""
SHE_REGULAR = _nouns("girl queen princess mother sister aunt daughter")
SHE = SHE_REGULAR + _nouns("woman/women lady/ladies")
"""People who are "she"."""
TRADES = _nouns("teacher doctor farmer soldier sailor friend stranger baker driver singer")
"""People of either gender."""
PEOPLE = HE + SHE + TRADES
HE_KIN = _nouns("brother father uncle son")
SHE_KIN = _nouns("sister mother aunt daughter")
ANIMALS = _nouns("dog cat horse bird bear rabbit fox lion pig cow duck frog monkey")
ANIMATE = PEOPLE + ANIMALS
IRREGULAR_ANIMATE = _nouns("child/children man/men woman/women mouse/mice goose/geese wolf/wolves wife/wives")
IRREGULAR_THINGS = _nouns("knife/knives leaf/leaves tooth/teeth foot/feet shelf/shelves loaf/loaves")
THINGS = _nouns(
    "book cup box ball chair table ring coat hat key basket bag lamp bed stone flower boat picture candle doll bell "
    "letter bottle toy stick rope blanket clock"
)
FOODS = _nouns("apple cake egg pie cookie orange potato/potatoes sandwich")
CLOTHES = _nouns("hat coat ring dress shirt")
VESSELS = _nouns("cup bottle bowl bucket glass pot")
LIQUIDS = _tokens("water milk sand sugar oil tea", "NOUN")
MASSES = _tokens("water milk sand sugar bread snow money butter gold cheese", "NOUN")
RELATIONS = _nouns("friend brother sister teacher mother father servant son")
"""Nouns that take an of-phrase: the friend of the boys."""

# Names ----------------------------------------------------------------------------------------------------------------
HE_NAMES = _tokens("Tom Tim Ben Jack John Peter Bob Joe Harry George", "PROPN")
SHE_NAMES = _tokens("Mary Lily Anna Lucy Sue Mia Jane Sarah Alice Molly", "PROPN")
NAMES = HE_NAMES + SHE_NAMES

# Adjectives -----------------------------------------------------------------------------------------------------------
MOODS = _tokens("happy sad angry tired hungry afraid kind brave sick ready", "ADJ")
LOOKS = _tokens("big small old new little pretty red blue green yellow", "ADJ")
SIZES = _tokens("big small little large old young", "ADJ")
"""Adjectives that suit people, animals and things."""

# Phrases --------------------------------------------------------------------------------------------------------------
ROOMS = _tokens("garden house forest kitchen park castle field barn", "NOUN")
PLACES = tuple(f"in/ADP the/DET {room.word}/NOUN" for room in ROOMS)
TIMES = (
    "last/ADJ night/NOUN",
    "yesterday/NOUN",
    "that/DET day/NOUN",
    "this/DET morning/NOUN",
    "before/ADP dinner/NOUN",
    "one/NUM morning/NOUN",
)
"""Adverbials without a preposition that a verb before them could take for its own."""
NEXT_TO = ("near/ADP", "behind/ADP", "beside/ADP")


# Verbs ----------------------------------------------------------------------------------------------------------------
_PARADIGMS = {
    line.split()[0]: Verb(*line.split())
    for line in """\
arrive arrives arrived arrived arriving
bite bites bit bitten biting
blame blames blamed blamed blaming
break breaks broke broken breaking
bring brings brought brought bringing
buy buys bought bought buying
call calls called called calling
catch catches caught caught catching
choose chooses chose chosen choosing
clean cleans cleaned cleaned cleaning
come comes came come coming
cook cooks cooked cooked cooking
cry cries cried cried crying
dance dances danced danced dancing
disappear disappears disappeared disappeared disappearing
draw draws drew drawn drawing
dress dresses dressed dressed dressing
drink drinks drank drunk drinking
drop drops dropped dropped dropping
eat eats ate eaten eating
fall falls fell fallen falling
fear fears feared feared fearing
feed feeds fed fed feeding
find finds found found finding
fix fixes fixed fixed fixing
follow follows followed followed following
forget forgets forgot forgotten forgetting
freeze freezes froze frozen freezing
get gets got got getting
hate hates hated hated hating
hear hears heard heard hearing
help helps helped helped helping
hide hides hid hidden hiding
hurt hurts hurt hurt hurting
jump jumps jumped jumped jumping
keep keeps kept kept keeping
know knows knew known knowing
laugh laughs laughed laughed laughing
like likes liked liked liking
listen listens listened listened listening
lose loses lost lost losing
love loves loved loved loving
make makes made made making
meet meets met met meeting
need needs needed needed needing
open opens opened opened opening
paint paints painted painted painting
play plays played played playing
praise praises praised praised praising
read reads read read reading
ride rides rode ridden riding
run runs ran run running
save saves saved saved saving
see sees saw seen seeing
shake shakes shook shaken shaking
shout shouts shouted shouted shouting
sing sings sang sung singing
sleep sleeps slept slept sleeping
smile smiles smiled smiled smiling
steal steals stole stolen stealing
swim swims swam swum swimming
take takes took taken taking
teach teaches taught taught teaching
tear tears tore torn tearing
throw throws threw thrown throwing
touch touches touched touched touching
trust trusts trusted trusted trusting
use uses used used using
visit visits visited visited visiting
wait waits waited waited waiting
walk walks walked walked walking
want wants wanted wanted wanting
wash washes washed washed washing
watch watches watched watched watching
wear wears wore worn wearing
work works worked worked working
write writes wrote written writing
""".splitlines()
}


def verb(base: str) -> Verb:
    """The verb with this base form."""
    return _PARADIGMS[base]


def verbs(text: str) -> tuple[Verb, ...]:
    """The verbs with these base forms."""
    return tuple(verb(base) for base in text.split())


ACTIVITIES = verbs("laugh smile cry sleep dance sing run walk swim wait jump shout work play")
"""Intransitive, animate subject."""
ATTITUDES = verbs("like love know help follow hate fear watch trust visit see hear find want need call meet")
"""Transitive, animate subject and object."""
SELF = verbs("hurt wash help save dress hide blame teach praise feed see trust")
"""Transitive verbs that are often reflexive."""
ONLY_TRANSITIVE = verbs("find catch want like make fix use bring buy touch need")
"""Verbs that cannot do without an object; inanimate objects suit them."""
ONLY_INTRANSITIVE = verbs("sleep smile laugh arrive fall cry come disappear wait listen")
"""Verbs that take no object; animate subject."""

SPLIT: tuple[tuple[Verb, tuple[Noun, ...]], ...] = (
    (verb("break"), _nouns("cup box lamp toy chair bottle clock stick")),
    (verb("take"), THINGS),
    (verb("eat"), FOODS),
    (verb("see"), THINGS),
    (verb("choose"), THINGS),
    (verb("steal"), THINGS),
    (verb("throw"), _nouns("ball stone hat stick rope")),
    (verb("wear"), CLOTHES),
    (verb("draw"), _nouns("picture flower house horse boat")),
    (verb("write"), _nouns("letter book story/stories")),
    (verb("tear"), _nouns("letter coat book picture dress shirt")),
    (verb("shake"), _nouns("bottle box bag rope bell")),
    (verb("ride"), _nouns("horse")),
)
"""Verbs whose past is never their participle (so not "has bit", "has forgot"), each with objects that suit it."""
BEFORE_NOUNS: tuple[tuple[Verb, tuple[Noun, ...]], ...] = (
    (verb("break"), SPLIT[0][1]),
    (verb("steal"), THINGS),
    (verb("hide"), THINGS),
    (verb("forget"), THINGS),
    (verb("tear"), _nouns("letter coat book picture dress shirt")),
)
"""Verbs whose participle serves as an adjective."""
