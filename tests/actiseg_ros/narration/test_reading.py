"""Which object a narration names: how it is meant, where the object stands, how it is spelt."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actiseg_ros.narration import grammar
from actiseg_ros.narration.mood import Reason
from actiseg_ros.narration.reading import Reading, read
from actiseg_ros.narration.text import clean_narration
from actiseg_ros.narration.vocabulary import Vocabulary

NAMES = (
    "knife", "spoon", "wooden spoon", "tomato", "cherry", "pan", "frying pan", "lid", "cup",
    "plate", "bottle", "water bottle", "tin", "can", "egg", "bread", "jar", "towel", "tea towel",
    "whisk", "chopping board", "cutting board", "board", "washing liquid", "cheese", "onion",
    "red onion", "baking tray", "tray", "box", "cereal box", "bowl", "kettle", "milk", "hand",
)  # fmt: skip
VOCABULARY = Vocabulary({index: [name] for index, name in enumerate(NAMES)})


def reading(text: str) -> Reading:
    return read(clean_narration(text), VOCABULARY)


@pytest.mark.parametrize(
    ("reason", "texts"),
    [
        (
            Reason.NEGATED,
            "do not touch the baking tray|don't pick up the tray|don’t take the knife|dont cut it|"
            "don t cut the tomato|never cut the tomato|avoid the knife|hands off the tray|"
            "keep away from the pan|leave the cup alone|no knife|nobody cuts the tomato|"
            "without the knife|instead of the knife take the fork|cannot open the jar|"
            "take the cup and do not touch the knife|the tray must not be touched|"
            "take any cup except the cup|cut the tomato, no, don't|refuse to take the cup|"
            "not yet cutting the tomato|be careful with the knife|do n't cut the tomato|"
            "do n t cut the tomato|do'nt cut the tomato|donot cut the tomato|"
            "ca n't cut the tomato|you should n't cut the tomato|you shouldnot cut the tomato|"
            "stay back from the knife|step away from the knife|the knife is off limits|"
            "watch out for the knife|leave the cup|leave the cup where it is|"
            "take the cup, scratch that|take the cup, actually the plate|take the cup, oops|"
            "take the cup, wrong|disregard tomato|neglect the tomato|exclude the tomato|"
            "spare the tomato|spare tomato|dodge the knife|steer clear of the knife|"
            "cut zero tomatoes|cut 0 tomato|cut 0.0 tomatoes|take nil tomatoes|unsafe: cut tomato|"
            "look out the jar",
        ),
        (
            Reason.ENDED,
            "stop cutting the tomato|please stop cutting|finished cutting the tomato|"
            "i have cut the tomato|the tomato has been cut|washed the plate|he took the knife|"
            "no longer cutting the tomato|cutting the tomato is done|"
            "i was cutting the tomato|cut the tomato and stop|give up cutting the tomato|"
            "i've already washed the pan|take the cup, hold on|take the cup hang on|"
            "take the cup, freeze|take the cup (stop)|cut tomato, undo it|cut tomato, undo that|"
            "cut tomato, skip it|cut tomato, please revert it|cut tomato, drop it|skip, cut tomato|"
            "take the cup, hold it|take the cup, and hold it|hold, cut tomato|freeze, cut tomato",
        ),
        (
            Reason.CONDITIONAL,
            "if the pan is hot take the lid|when the kettle boils take the cup|"
            "after cutting the tomato|after that take the cup|unless i say so take the cup|"
            "before cutting the tomato|maybe cut the tomato|take the cup or the knife|"
            "in case of fire take the lid|as soon as i say, once i say it, take the cup|"
            "take the cup on my signal|on my signal take cup|take the cup on command|"
            "take the cup upon request|take the cup at the beep|"
            "take the cup on the count of three|take the cup at the bell|take the cup on my nod",
        ),
        (
            # What stands apart from the sentence may say anything of it.
            Reason.CONDITIONAL,
            "TODO: cut tomato|error: cut tomato|goal： cut tomato|prediction: cut tomato|"
            "wrong: cut tomato|check: cut tomato|tomato: cut|on hold: cut tomato|12:30 cut tomato|"
            "[todo] cut tomato|TODO - cut tomato|TODO \u2013 cut tomato|TODO -- cut tomato|"
            "todo cut tomato|todo, cut tomato|negative, cut tomato|1. cut tomato|"
            "cut tomato (failed)|cut tomato: false|cut tomato [dry run]|cut tomato \u3010x\u3011|"
            "cut tomato \u2014 failed|cut tomato, failed|cut tomato; false|"
            "cut tomato. False alarm!|take the cup, gizmo|trial run cut tomato|off, cut tomato|"
            "cut tomato, on hold|on hold, cut tomato|cut tomato on hold|on standby, cut tomato|"
            "release, cut tomato|cut tomato, release|cut tomato, cleaned|"
            "cut tomato, failed, and cup",
        ),
        (
            # An adverb may say that it is not done, or that nobody knows.
            Reason.CONDITIONAL,
            "cut tomato (unsuccessfully)|cut tomato - incorrectly|cut tomato: wrongly|"
            "cut tomato (almost)|cut tomato (allegedly)|cut tomato (recently)|cut tomato (there)|"
            "almost cut the tomato|nearly cut the tomato|supposedly cut the tomato|"
            "recently cut the tomato|cut the tomato unsuccessfully|cut tomato, unsuccessfully|"
            "cut tomato unsuccessfully with the knife|cut tomato with the knife hypothetically|"
            "take the cup at five exactly",
        ),
        (
            # So may signs that are no words.
            Reason.CONDITIONAL,
            "\U0001f6ab cut tomato|\u274c cut tomato|\u2705 cut tomato|\u2610 cut tomato|"
            "\u2611\ufe0f cut tomato|cut tomato \U0001f44d\U0001f3fd|cut tomato \ufffd|"
            "cut ~~tomato~~|cut t\u0336o\u0336mato|cut \u20e0tomato|<del>cut tomato</del>|"
            "\u00ac cut tomato|cut tomato = false|take cup \u2192 box|take cup/knife|"
            "cut $tomato|cut tomato \ue000|- [ ] cut tomato|cut tomato :(",
        ),
        (
            Reason.QUESTION,
            "should I cut the tomato?|should i cut the tomato|can you take the cup?|cut tomato?|"
            "which knife|where is the knife|is the knife clean|do you want the cup|"
            "now may i take the cup|can the robot take the cup|what about the cup",
        ),
        (
            Reason.PLANNED,
            "about to cut the tomato|i will cut the tomato|i'll cut it|going to take the knife|"
            "want to cut the tomato|we need the pan|let's take the cup|later cut the tomato|"
            "in a minute, take the cup|in 5 minutes take the cup|the recipe says cut the tomato|"
            "think about cutting the tomato|ready to cut the tomato|take the cup, wait a moment|"
            "take the cup in a bit|in a sec take cup|take the cup in a jiffy|take the cup shortly|"
            "take the cup in a couple of minutes|take the cup on friday|at dawn take the cup|"
            "take the cup next week|take the cup this evening|take the cup in half an hour|"
            "take the cup at five|take the cup by 6|take the cup in five|"
            "take the cup at 5pm|take the cup on three|take the cup around five|"
            "pending: cut tomato|next: cut tomato|cut tomato in 5min|cut tomato in 10s|"
            "slice the tomato in 30sec|cut the tomato in 2h|cut the tomato in 10 s|"
            "take the cup at eleven thirty|take the cup in twenty five|take the cup at 5 sharp|"
            "take the cup at five thirty sharp please|take the cup at quarter to six|"
            "take the cup in a short time|take the cup at the right time|take cup afterwards|"
            "take the cup at some point|cut the tomato and take the cup in five|"
            "cut the tomato at 180|turn on the kettle at five|turn the cup on three",
        ),
        (
            Reason.PLACE_ONLY,
            "put in the pan|put on plate|cut with knife|look at the knife|look for the cup|"
            "in the pan|go to the kettle|reach for the cup|reach over the pan|"
            "step over the knife|jump over the cup|look over the cup|look around the cup|"
            "hover over the cup|hover over cup|go around the pan|walk round the pan|"
            "reach up over the pan|the chef reaches over the pan|step over, the knife|"
            "lean slightly over the pan|step off the tray|climb up the box|look down the bottle|"
            "reach out the cup|pour over the pan|cut along the tomato|whisk over the bowl|"
            "lid off pan|pour down the bowl|throw down the bowl|carry around the tray|"
            "push around the tray|push along the tray",
        ),
        (
            Reason.UNKNOWN_OBJECT,
            "pour oil into pan|put rice in jar|put the phone next to the knife|take egg timer|"
            "take cheese grater|take can opener|spoon rice onto plate|take gizmo and knife|"
            "move the gizmo from the pan to the plate",
        ),
        (Reason.HAND, "wash hands|take left hand|put your hand on the pan|cut finger"),
        (Reason.PRONOUN, "put it in the pan|take that|open it with the knife"),
        (Reason.NO_OBJECT, "whisk|cut|peel|can|wash up|put down|there is a knife|watch the cup"),
        (
            Reason.STATEMENT,
            "the knife is on the table|the tomato is cut|this is a cup|touching the tray is risky",
        ),
        (Reason.AMBIGUOUS, "use the knife to open the jar"),
        (Reason.EMPTY, "|...|!"),
        (Reason.CUT, "take cup " * 200),
    ],
    ids=lambda value: value.value if isinstance(value, Reason) else "",
)
def test_what_is_not_plainly_done_to_a_known_object_has_none(reason: Reason, texts: str) -> None:
    wrong = {text: reading(text) for text in texts.split("|") if reading(text).reason is not reason}
    assert not wrong
    assert all(reading(text).name == "" for text in texts.split("|"))


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("tomato", "cut tomato|please cut the tomato|cutting tomato|i'm cutting the tomato|"
         "the chef is cutting a tomato with a knife|he cuts the tomato|#C C cuts the tomato|"
         "the tomato is being cut|tomato being cut on the chopping board|salt the tomato|"
         "peel tomatoes|season tomato|can the tomatoes|with the knife, cut the tomato|"
         "with a knife cut the tomato|using a knife to cut the tomato|cut half of the tomato|"
         "carefully cut the tomato|cut a tomato slice|still cutting tomato|tomato|the tomato|"
         "wash hands and tomatoes|first cut the tomato then take the knife|"
         "wash tomatoes, cherries and knives|salt & pepper the tomato|a tomato, please|"
         "cut the tomato on the left|stir the tomato for a minute|now, the tomato|"
         "cut the tomato (again)|(please) cut the tomato|cut the tomato in two|take 1/2 tomato|"
         "slice the tomato in 4|put the tomato in a bit of milk|heat the tomato to 180\u00b0|"
         "- cut tomato -|take \u00bd tomato|salt + pepper the tomato|cut tomato (slowly, please)|"
         "cut tomato - carefully|cut the tomato diagonally|apply the tomato to bread|"
         "cut a freshly washed tomato|deep-fry the tomato|deep frying tomato|slow cook tomato|"
         "pressure cook tomato|half-peel the tomato|snap tomato in two|divide tomato by two|"
         "part the tomato in two|cut tomato, garlic, and onion|cut tomato, onion and garlic|"
         "cut tomato, garlic, basil, and onion|cut tomato, in half|stir around the tomato"),
        ("cup", "take cup from box|take the cup without touching the knife|pick the cup up|"
         "take the cup, not the knife|take the cup rather than the knife|cup of milk|"
         "give me the cup|hand me the cup|hand the cup to me|robot, take the cup|robot take cup|"
         "left hand picks up cup|the right hand is holding a cup|take the cup that is on the pan|"
         "take that cup|take another cup|fill cup until done|take cup & plate|"
         "take my cup|take the chef's cup|hold the cup while opening the jar|try to lift the cup|"
         "robot: take the cup|take the cup, robot|take the cup, the red one|take the cup, thanks|"
         "reach over and take the cup|go over there and take the cup|turn around the cup|"
         "walk over, pick up the cup|reach out and take the cup|take out the cup|"
         "take cup, gizmo and plate|take the cup at the same time|take cup, one at a time|"
         "wash cup, rinse|wash cup, rinse, dry|wash cup, rinse and dry|wash cup, rinse it|"
         "air-dry cup|double check cup|go, take cup|take the almost empty cup|"
         "take cup, hold knife"),
        ("egg", "whisk eggs|whisk the eggs|spoon egg onto plate|put the egg in the pan|"
         "dish up eggs|box the egg|tin the egg|turn over the egg|turn the egg over|flip over egg|"
         "crack egg in two"),
        ("knife", "take bread knife|knives|take knife, spoon and plate|take knife and cut bread"),
        ("whisk", "take whisk|take the whisk and whisk eggs"),
        ("cutting board", "cutting board|take cutting board|wash the cutting boards"),
        ("board", "cut board|cutting the board"),
        ("frying pan", "wash frying pan"),
        ("pan", "pre-heat pan|turn the pan on 6|set pan at 180|heat pan at 200c|tip over pan"),
        ("skillet", "take the skillet"),
        ("washing liquid", "pour washing up liquid|take washing-up liquid"),
        ("tea towel", "fold teatowel|fold the tea-towel"),
        ("kettle", "turn on kettle|turn the kettle on|fill the kettle with milk|"
         "keep filling kettle|switch off the kettle|turn off kettle|half fill kettle"),
        ("can", "open can|take the can"),
        ("bread", "take a piece of bread|take two slices of the bread|butter bread|cut open bread"),
        ("lid", "take lid off pan|lift up the lid of the pan|put the lid on the pan|"
         "unscrew off lid|knock off lid|slide off the lid|flip off lid"),
        ("jar", "take glass jar"),
        ("red onion", "put red onion on plate|rough chop red onion|fine chop red onion"),
        ("water bottle", "take water bottle"),
        ("cereal box", "move cereal box"),
    ],
)  # fmt: skip
def test_the_object_is_what_the_first_verb_works_on(name: str, texts: str) -> None:
    wrong = {text: reading(text) for text in texts.split("|") if reading(text).name != name}
    assert not wrong


def test_what_is_mentioned_are_heads_and_not_verbs() -> None:
    for text, mentions in (
        ("put wooden spoon on chopping board", ("wooden spoon", "chopping board")),
        ("whisk the eggs with the whisk", ("egg", "whisk")),
        ("can you take the cup?", ("cup",)),
        ("take cheese grater and knife", ("knife",)),
        ("do not touch the tray", ("tray",)),
        ("take knife and put down knife", ("knife",)),
        ("wash hands in bowl", ("bowl",)),
        ("unknife spoonful", ()),
    ):
        assert reading(text).mentions == mentions, text


VERBS = st.sampled_from(["cut", "take", "wash", "put down", "pick up", "open", "cutting", "move"])
NOUNS = st.sampled_from([name for name in NAMES if name not in ("hand", "board")])
PLACES = st.sampled_from(["", " with a spoon", " on the plate", " in jar", " from the box"])
PLAIN = st.builds(lambda verb, noun, place: (verb, noun, place), VERBS, NOUNS, PLACES)
SMALL = sorted(
    grammar.PREPOSITIONS | grammar.PARTICLES | grammar.PRONOUNS | grammar.DETERMINERS | grammar.BE
    | grammar.CONJUNCTIONS | grammar.RELATIVES | grammar.FILLERS | grammar.ADVERBS | grammar.MODALS
    | grammar.NEGATIONS | grammar.SUBORDINATE | grammar.PARTITIVES | grammar.BODY | grammar.PERSONS
)  # fmt: skip
WORDS = st.sampled_from(
    [*SMALL, *sorted(grammar.VERBS), *NAMES, "gizmo", "washing", "cut", ",", ":", "?"]
)
SOUP = st.lists(WORDS, max_size=9).map(" ".join)


@given(PLAIN)
def test_a_plain_sentence_names_its_object(sentence: tuple[str, str, str]) -> None:
    verb, noun, place = sentence
    assert reading(f"{verb} {noun}{place}").name == noun


@given(PLAIN, st.sampled_from(["the ", "a ", "an ", "some ", "my "]), st.booleans(), st.data())
def test_spelling_and_small_words_change_nothing(
    sentence: tuple[str, str, str], article: str, plural: bool, data: st.DataObject
) -> None:
    verb, noun, place = sentence
    text = f"{verb} {article}{noun}{'s' if plural else ''}{place}"
    for old, new in (
        (" ", data.draw(st.sampled_from([" ", "\u00a0", "  ", "\t", "\u3000"]))),
        ("", data.draw(st.sampled_from(["", ".", "!", "\u2026", " \u2013", ";"]))),
    ):
        text = text.replace(old, new) if old else text + new
    quoted = data.draw(st.sampled_from(["{}", "\u201c{}\u201d", "'{}'", "\u00ab{}\u00bb", "({})"]))
    text = quoted.format(data.draw(st.sampled_from([str.upper, str.title, str]))(text))
    assert reading(text).name == noun
    assert clean_narration(text).text == clean_narration(text.lower()).text


@given(
    st.one_of(SOUP, PLAIN.map(lambda parts: " ".join(parts))),
    st.sampled_from(
        ["do not", "don't", "don\u2019t", "DO NOT", "never", "stop", "avoid", "i finished",
         "if you", "should i", "i am about to", "i will", "i no longer", "nobody may", "when i",
         "did you"]
    ),
)  # fmt: skip
def test_what_is_said_first_to_forbid_end_or_ask_kills_every_target(text: str, before: str) -> None:
    assert reading(f"{before} {text}").name == ""


@given(SOUP)
@example("cup up on plate")
@example("stir egg until done in 5 minutes, at")
@example("is")
def test_any_words_are_read_and_nothing_but_a_mentioned_object_is_the_target(text: str) -> None:
    found = reading(text)
    assert (found.name == "") == (found.reason is not Reason.OBJECT)
    assert found.name == "" or found.name in found.mentions
    assert set(found.mentions) <= set(NAMES) | {"skillet", "tin opener"} and found.text
    assert found.name != "hand"


@given(st.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    assert reading(text).text


@given(st.sampled_from(sorted(grammar.VERBS | grammar.MODALS | grammar.BE)))
def test_a_verb_alone_is_no_object(verb: str) -> None:
    assert reading(verb).name == ""
