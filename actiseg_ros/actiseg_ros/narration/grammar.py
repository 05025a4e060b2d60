"""The small words of English that say how a narration is meant, by what they do in a sentence.

Only closed classes stand here, and verbs that take another verb ("stop cutting"). Any other word
may be a verb or part of a name: its place in the sentence tells.
"""

from __future__ import annotations

import functools
import re


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


NUMBERS = _set(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty ninety hundred"
)
DETERMINERS = NUMBERS | _set(
    "a an the this that these those my your his her its our their some any another each every"
    " both all other others more several few many same next first second last"
)
PRONOUNS = _set(
    "i me you he him she it we us they them someone somebody everyone everybody something"
    " anything everything mine yours ours theirs himself herself itself themselves myself"
    " yourself"
)
SUBJECT_PRONOUNS = _set("i you he she it we they someone somebody everyone anyone anybody")
PERSONS = _set(
    "person people man woman boy girl child guy lady chef cook user operator participant wearer"
    " human worker robot assistant mother father c"
)
"""Who acts. ``c`` is the camera wearer in Ego4D's narrations."""
BODY = _set(
    "hand hands finger fingers thumb thumbs palm palms fist fists wrist wrists fingertip"
    " fingertips knuckle knuckles arm arms"
)
PREPOSITIONS = _set(
    "aboard about above across against along alongside amid among around as at behind below"
    " beneath beside besides between beyond by down for from in inside into like near next of"
    " off on onto opposite out outside over past per round through throughout to toward towards"
    " under underneath unto up upon using via with within"
)
PARTICLES = _set(
    "up down out off away back over apart aside together open closed shut around round along"
    " forward upside aside ahead"
)
"""After a verb they belong to it: "pick up cup". Some are prepositions too: `takes_particle`."""
SWITCHED_PARTICLES = _set("on in")
SWITCHING_VERBS = _set("turn switch plug click flick power")
"""Only with these verbs "on" and "in" are particles: "turn on tap", but "put in bowl"."""
MOVING = _set(
    "go come walk run step jump hop climb crawl lean reach stoop crouch kneel squat sit look glance"
    " gaze peer peek stare point wave wander stroll rush hurry head fly float hover drift hike"
    " march pace travel"
)
"""Of one's own way, posture or gaze: "up", "down" and "out" behind them say where."""
POURING = _set("pour throw tip drain empty dump flush rinse wash spill chuck toss")
"""What they get rid of is not what follows "down": "pour down sink"."""
_TAKING = {
    "off": _set(
        "take turn switch shut flick click power set cut chop slice peel trim snip snap break bite"
        " tear rip strip rinse wash wipe clean brush scrub scrape rub dust polish pat dry shake"
        " pull lift twist screw unscrew pop prise pry drain pour scoop skim shave sweep blow"
        " finish cool knock slide plug flip"
    ),
    "over": _set("turn flip knock tip roll fold hand bring push pull wipe switch swap"),
    "around": _set("turn flip spin rotate swirl stir shake switch swap"),
    "along": _set("take bring"),
}
_TAKING["round"] = _TAKING["around"]
"""Only behind these verbs such a word is a particle before a noun: "turn over egg"."""
CONJUNCTIONS = _set("and or then plus but nor yet so")
RELATIVES = _set("that which who whom whose where")
"""After a noun they begin a clause that describes it."""
FILLERS = _set(
    "please ok okay now then so and well just also again first finally next hey hi hello yes"
    " yeah alright right only kindly still simply meanwhile oh um uh er hmm thanks thank"
)
ADVERBS = _set(
    "please um uh er oh again now then too also here there still just almost quickly well"
    " together twice soon afterwards instead somewhere aside slightly once anew halfway upright"
    " very quite"
)
MANNERS = _set(
    "carefully slowly gently quickly quietly safely swiftly rapidly steadily smoothly finely"
    " coarsely thinly thickly roughly evenly lightly firmly loosely tightly neatly nicely cleanly"
    " properly thoroughly vigorously softly delicately diagonally vertically horizontally partly"
    " partially fully completely briefly continuously repeatedly simultaneously directly"
    " immediately currently manually separately equally gradually cautiously"
)
"""How something is done now. Other adverbs in "-ly" may say that it is not: "allegedly"."""
COMPOUNDING = _set(
    "deep shallow pre re par slow quick pressure air flash double half fine coarse rough spot batch"
)
"""Before a verb they make another one of it: "deep-fry"."""
PARTITIVES = _set(
    "piece pieces slice slices bit bits part parts half halves rest remainder lot lots pair"
    " pairs handful chunk chunks pinch bunch couple stack pile portion portions kind type end"
    " ends side sides top bottom edge tip inside outside surface middle amount contents content"
)
""" "A piece of bread" and "a bread slice" are bread."""
PART_OF = _set("of off from")
BE = _set("be am is are was were been being")
MODALS = _set("can could will would shall should may might must ought")
TENSED = _set("has had does did")
QUESTION_WORDS = _set("what which who whose whom where why how whether")

NEGATIONS = _set(
    "not never no none nothing nobody nowhere neither nor hardly barely scarcely without zero nil"
    " nought naught minus sans"
)
CONDITIONS = _set(
    "if unless when whenever once after provided providing assuming suppose supposing otherwise"
    " perhaps maybe possibly probably could would might may should whether or either"
)
PLANS = _set(
    "will shall must ought going about later soon tomorrow someday ready tonight eventually"
    " upcoming wait waits waiting pending shortly momentarily sometime afterwards afterward"
)
PASTS = _set(
    "had has was were been did already ago previously yesterday earlier done formerly anymore"
)
SUBORDINATE = _set("while whilst before because until till unless since though although")
UNTIL = _set("until till")
EXCLUSIONS = (
    ("without",),
    ("instead", "of"),
    ("rather", "than"),
    ("except",),
    ("excluding",),
    ("apart", "from"),
    ("other", "than"),
    ("all", "but"),
    ("anything", "but"),
    ("everything", "but"),
)
"""What follows them is not meant."""
KEEP_OFF = (_set("keep stay hold lay hands hand back stand steer"), _set("off away clear out"))
"""A word of the first set and then one of the second forbid: "stay away from the oven"."""

TIMES = _set(
    "second seconds sec secs minute minutes min mins moment moments hour hours hr hrs day days week"
    " weeks month months year years morning afternoon evening night noon midnight dawn dusk sunrise"
    " sunset weekend while future course bit jiffy jiff mo tick pm o'clock oclock lunchtime bedtime"
    " nightfall teatime monday tuesday wednesday thursday friday saturday sunday january february"
    " april june july august september october november december s h ms quarter time point"
    " instant flash"
)
TIME_PREPOSITIONS = _set("in within at on by upon past")
CLOCK_PREPOSITIONS = TIME_PREPOSITIONS | _set("around")
"""A bare number behind them is a time: "at five"."""
STATE_PREPOSITIONS = _set("on in at under by")
"""Before a bare word they may say how far something is: "on standby", "under review"."""
AGAIN_AND_AGAIN = (("a", "time"), ("same", "time"), ("the", "same", "time"))
"""Behind "at" these times are no others than now: "one at a time"."""
SIGNALS = _set(
    "signal command request demand cue order orders instruction instructions approval permission"
    " confirmation consent notice word mark call say go beep bell nod whistle alarm count"
    " arrival return completion occasion breakfast lunch dinner supper"
)
"""Behind `SIGNAL_PREPOSITIONS` they say what has to come first: "on my signal"."""
SIGNAL_PREPOSITIONS = _set("on upon at by with under")
DIVIDING = _set(
    "cut slice chop dice divide split halve quarter fold break tear rip saw crack snap separate"
    " part"
)
"""With them "in two" says into how many parts; elsewhere it is a time."""
SETTING = _set("turn set cook bake heat roast fry grill boil")
"""With them "on 6" and "at 180" are settings."""
WARNINGS = _set(
    "careful beware forbidden prohibited dangerous danger caution warning unsafe hazard hazardous"
)

# Verbs that take another verb, by what they say about it.
GOING_ON = _set("continue keep start begin resume proceed try attempt go come help carry")
ENDING = _set("stop finish cease quit halt pause abort cancel conclude discontinue")
ENDING_VERBS = _set("end complete")
"""These end something only where the verb stands: "cut end of carrot" does not."""
FORBIDDING = _set(
    "avoid refrain forbid prohibit beware forget refuse decline ignore prevent abstain disallow ban"
    " disregard neglect overlook exclude shun evade dodge bypass forgo forego eschew renounce"
    " abandon dismiss veto withhold"
)
REFUSING = _set("skip omit deny fail reject resist mind miss leave spare protect guard shield")
"""These forbid only where the verb stands."""
LEAVING, ALONE = _set("leave"), _set("alone be there it")
PERCEIVING = _set("watch see view observe admire notice behold")
"""Verbs of eyes alone, which touch nothing."""
WITHDRAWING = _set("actually sorry oops whoops wrong nope nah mistake")
"""Behind something that was said they take it back: "take the cup, actually the plate"."""
STANDING_STILL = _set("freeze hold stay")
"""Between marks they are commands to stop."""
TAKING_BACK = _set("undo skip revert reverse drop leave scrap retract withdraw rescind")
"""Between marks they take back what was said, also with `BACK_OBJECTS`: "undo it"."""
BACK_OBJECTS = _set("it that this them all everything")
WISHING = _set(
    "need plan intend hope wish like love prefer consider decide expect wait let have remember"
    " imagine hate enjoy pretend ought agree offer threaten dare fear worry regret risk undo"
    " delay postpone practise practice simulate learn"
)
SAYING = _set(
    "say tell ask think want suggest recommend propose promise wonder explain describe discuss"
    " mention remind teach"
)
"""Wherever they stand, what is told is not what is done."""

USING = _set("use")
GIVING = _set("give hand pass bring get fetch show offer lend grab find buy make cut pour")
"""Verbs with two objects: "give me the cup"."""

VERBS = _set(
    "add adjust apply arrange assemble attach bake beat bend bite blend boil bone break bring"
    " brown brush butter can carry carve catch change check chill chop clean clear close coat"
    " collect combine continue cook cool core cover crack crush cube cut dice dig dip dispose"
    " divide drag drain drink drizzle drop drum dry dump dust eat empty enter examine extract feel"
    " fetch fill filter find finish fix flatten flip fold form freeze fry gather get give glaze"
    " go grab grasp grate grease grill grind grip hand hang heat hit hold insert inspect juice keep"
    " knead knock ladle lather lay leave lift light line load loosen lower make marinate mash"
    " measure melt mince mix mop move oil open pack pat peel pick pinch place play plug point"
    " pour prepare press prick pull push put raise reach read release remove rest return rinse"
    " rip roast roll rotate rub salt scoop scrape screw scrub seal search season separate serve"
    " set shake shape sharpen shift shred shut sieve sift slice slide smell soak soap spill spin"
    " sponge spoon spray spread sprinkle squeeze stack start steam stick stir stop store strain"
    " stretch stuff support swap sweep switch take tap taste tear throw tie tighten tilt tip"
    " toast toss touch transfer trim turn twist uncover unfold unlock unpack unplug unroll"
    " unscrew unwrap use walk warm wash watch water weigh whip whisk wipe wrap wring zip eat"
    " discard dispose rearrange replace rinse swirl unload"
)
"""Common verbs of work at a table; several of them are nouns too ("whisk eggs", "take whisk")."""
WORKING_ALONE = VERBS - _set(
    "can change check clear close discard dispose drop finish fix freeze go hold keep leave release"
    " remove rest return start stop"
)
"""Without an object they still tell of work: "wash cup, rinse", but not "wash cup, stop"."""

PAST_FORMS = _set(
    "took held got gave threw poured found brought broke ate drank made stood shook tore wore"
    " wrote fell fed ground hung laid lit slid spun stuck swept wrung taken given thrown broken"
    " eaten gone went came kept dug froze beaten frozen bent bit caught chose felt lost sent"
    " sold shaken sank swung woven torn worn"
)

_CONTRACTED = re.compile(
    r"(do|does|did|ca|wo|sha|is|are|was|were|have|has|had|should|would|could|must|need|might|ai)"
    r"(?:n'?t|'nt|not)"
)
_WHOLE = {"ca": "can", "wo": "will", "sha": "shall", "ai": "is"}
_SPLIT = {
    "cannot": ("can", "not"),
    "gonna": ("going", "to"),
    "wanna": ("want", "to"),
    "gotta": ("have", "to"),
    "lemme": ("let", "me"),
    "let's": ("let", "us"),
    "lets": ("let", "us"),
    "i'm": ("i", "am"),
    "im": ("i", "am"),
}
_ENDINGS = {"'re": "are", "'ll": "will", "'ve": "have", "'d": "would", "'m": "am"}
_IS_AFTER = SUBJECT_PRONOUNS | QUESTION_WORDS | _set("that there here this everything nothing")


def expand(word: str) -> tuple[str, ...]:
    """A word without contractions: ``don't`` is ``do not``; a possessive loses its ending."""
    if word in _SPLIT:
        return _SPLIT[word]
    if found := _CONTRACTED.fullmatch(word):
        return _WHOLE.get(found[1], found[1]), "not"
    for ending, whole in _ENDINGS.items():
        if word.endswith(ending):
            return word.removesuffix(ending), whole
    if word.endswith("'s"):
        base = word.removesuffix("'s")
        return (base, "is") if base in _IS_AFTER else (base,)
    return (word,)


@functools.lru_cache(maxsize=4096)
def bases(word: str) -> frozenset[str]:
    """What a verb may be called in the infinitive."""
    found = {word}
    for ending in ("s", "es", "ed", "d", "ing"):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            stem = word.removesuffix(ending)
            found |= {stem, stem + "e"}
            if len(stem) > 2 and stem[-1] == stem[-2]:
                found.add(stem[:-1])
            if stem.endswith("i"):
                found.add(stem[:-1] + "y")
    return frozenset(found)


def is_verb(word: str, of: frozenset[str] = VERBS) -> bool:
    """Whether a word is a form of one of these verbs."""
    return not bases(word).isdisjoint(of)


def takes_particle(verb: str, particle: str) -> bool:
    """Whether a noun behind both is worked on ("turn over egg") and is no place ("step over mat").

    Args:
        verb: A verb in any form.
        particle: One of `PARTICLES`.
    """
    if particle in _TAKING:
        return is_verb(verb, _TAKING[particle])
    if particle == "down" and is_verb(verb, POURING):
        return False
    return particle not in PREPOSITIONS or not is_verb(verb, MOVING)


def is_number(word: str) -> bool:
    """Whether a word is a number, also with a unit: "five", "5pm"."""
    return word in NUMBERS or word[:1].isdigit()


def degrees(word: str) -> int | None:
    """A number in digits, perhaps of degrees: "6", "180c"."""
    found = re.fullmatch(r"(\d+)[cf]?", word)
    return int(found[1]) if found else None


def is_past(word: str) -> bool:
    """Whether a word where a verb stands says that something was done."""
    stem = word.removesuffix("ed")
    regular = stem != word and not stem.endswith("e") and bool(re.search(r"[aeiouy]", stem))
    return regular or word in PAST_FORMS


def is_adverb(word: str) -> bool:
    """Whether a word says how, when or where something is done."""
    return word in ADVERBS or (len(word) > 4 and word.endswith("ly") and word not in VERBS)
