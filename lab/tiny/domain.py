"""The little world the tiny model knows: questions, answers, and what is held out.

Everything here is deterministic.  A question is a line of lower-case words
joined by single spaces; so is its answer.  `questions()` lists all of them,
`is_held_out()` tells which ones no training step may ever see.

With TINY_EVERY=N in the environment the world has one answer in N, with all its
questions; the words stay the same.  Everything made from it is so much smaller.
"""
import hashlib
import os
import random
import zlib

ONES = ("zero one two three four five six seven eight nine ten eleven twelve "
        "thirteen fourteen fifteen sixteen seventeen eighteen nineteen").split()
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy",
        "eighty", "ninety")
ORDINALS = ("first second third fourth fifth sixth seventh eighth ninth tenth "
            "eleventh twelfth").split()

DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
MONTHS = ("january february march april may june july august september october "
          "november december").split()
MONTH_DAYS = dict(zip(MONTHS, (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)))

CAPITALS = {land: city.replace("_", " ") for land, city in (p.split(":") for p in """
france:paris germany:berlin italy:rome spain:madrid portugal:lisbon england:london
ireland:dublin scotland:edinburgh wales:cardiff norway:oslo sweden:stockholm
finland:helsinki denmark:copenhagen iceland:reykjavik poland:warsaw austria:vienna
hungary:budapest greece:athens turkey:ankara russia:moscow ukraine:kiev
romania:bucharest bulgaria:sofia serbia:belgrade croatia:zagreb belgium:brussels
netherlands:amsterdam switzerland:bern latvia:riga estonia:tallinn cyprus:nicosia
malta:valletta albania:tirana egypt:cairo morocco:rabat kenya:nairobi ghana:accra
nigeria:abuja senegal:dakar angola:luanda libya:tripoli china:beijing japan:tokyo
india:delhi pakistan:islamabad nepal:kathmandu iran:tehran iraq:baghdad
syria:damascus lebanon:beirut jordan:amman thailand:bangkok
vietnam:hanoi indonesia:jakarta australia:canberra canada:ottawa
america:washington cuba:havana peru:lima chile:santiago argentina:buenos_aires
brazil:brasilia colombia:bogota bolivia:sucre uruguay:montevideo venezuela:caracas
""".split())}

OPPOSITES = [pair.split(":") for pair in """
hot:cold big:small fast:slow up:down open:closed happy:sad day:night light:dark
hard:soft old:young rich:poor strong:weak early:late full:empty high:low
long:short loud:quiet near:far left:right true:false wet:dry wide:narrow
clean:dirty difficult:easy good:bad inside:outside above:below always:never begin:end
buy:sell push:pull love:hate north:south east:west summer:winter win:lose
thick:thin sharp:blunt sweet:sour rough:smooth front:back top:bottom
""".split()]

LEGS = dict(dog=4, cat=4, horse=4, cow=4, pig=4, sheep=4, goat=4, lion=4, tiger=4,
            frog=4, mouse=4, rabbit=4, elephant=4, wolf=4, bird=2, duck=2,
            chicken=2, owl=2, spider=8, ant=6, bee=6, snake=0, fish=0, whale=0)
SOUNDS = dict(dog="woof", cat="meow", cow="moo", duck="quack", pig="oink",
              sheep="baa", lion="roar", bee="buzz", snake="hiss", owl="hoot",
              horse="neigh", frog="croak", mouse="squeak", bird="tweet",
              chicken="cluck", wolf="howl")
COLOURS = {
    "grass": "green", "snow": "white", "the sky": "blue", "the sun": "yellow",
    "blood": "red", "coal": "black", "milk": "white", "a banana": "yellow",
    "a lemon": "yellow", "a tomato": "red", "an orange": "orange",
    "a carrot": "orange", "chocolate": "brown", "the ocean": "blue",
    "a leaf": "green", "a cherry": "red", "an elephant": "gray", "gold": "yellow",
    "a frog": "green", "a pig": "pink", "a crow": "black", "salt": "white",
    "a cucumber": "green", "a strawberry": "red", "a plum": "purple",
    "rice": "white", "a mouse": "gray", "wood": "brown", "cheese": "yellow",
    "a violet": "purple", "a swan": "white", "a pumpkin": "orange",
}
UNITS = [("minutes", "an hour", 60), ("seconds", "a minute", 60),
         ("hours", "a day", 24), ("days", "a week", 7), ("months", "a year", 12),
         ("weeks", "a year", 52), ("years", "a century", 100),
         ("years", "a decade", 10), ("days", "a weekend", 2),
         ("cents", "a dollar", 100), ("seasons", "a year", 4),
         ("wheels", "a car", 4), ("wheels", "a bicycle", 2),
         ("fingers", "a hand", 5), ("eggs", "a dozen", 12),
         ("sides", "a triangle", 3), ("sides", "a square", 4),
         ("letters", "the alphabet", 26), ("players", "a football team", 11)]

CHAT = [pair.split(": ") for pair in """
hello: hello how can i help you
hello omni: hello how can i help you
hi: hello how can i help you
hi there: hello how can i help you
good morning: good morning to you
good evening: good evening to you
good night: good night sleep well
goodbye: goodbye and see you soon
bye bye: goodbye and see you soon
see you later: goodbye and see you soon
thank you: you are welcome
thanks: you are welcome
thank you very much: you are welcome
how are you: i am fine thank you
how are you today: i am fine thank you
how do you feel: i am fine thank you
who are you: i am omni a tiny talking machine
what are you: i am omni a tiny talking machine
are you a machine: yes i am a tiny talking machine
are you human: no i am a tiny talking machine
what is your name: my name is omni
tell me your name: my name is omni
do you have a name: my name is omni
can you hear me: yes i can hear you
do you hear me: yes i can hear you
can you help me: yes ask me a question
what can you do: i can count and answer small questions
what do you know: i can count and answer small questions
how old are you: i am very young
where do you live: i live inside this computer
who made you: i was made on a small computer
do you speak english: yes i speak only english
do you speak french: no i speak only english
are you happy: yes i am happy
do you like music: yes i like music
tell me a joke: sorry i know no joke
""".strip().split("\n")]

# Words to repeat: far apart in sound, no homophones, two syllables welcome.
REPEAT_WORDS = """
apple arrow autumn balloon banana basket battery bicycle bottle bridge brother
butter button camera candle carpet castle cherry chicken circle coffee corner
cotton cousin diamond dinner doctor dragon eagle elephant engine evening family
farmer feather finger flower forest fountain friday garden giraffe glove guitar
hammer harbor helmet honey hospital island jacket journey jungle kettle kitchen
knife ladder lemon letter library lion market mirror monday money monkey morning
mountain museum needle number ocean onion orange orchestra palace paper pencil
pepper piano picture pigeon pillow pirate planet pocket potato pumpkin puzzle
rabbit radio rainbow ribbon river robot rocket sailor salad sandwich saturday
school shadow shoulder silver sister snake soldier spider spoon station stone
story strawberry sugar summer table teacher thunder ticket tiger tomato tower
train triangle tunnel turtle umbrella uncle valley village violin wagon weather
whisper window winter wizard yellow zebra august chocolate computer football
green purple blue hotel igloo lobster magnet napkin oyster pajamas quilt
""".split()
REPEATS = {2: 2600, 3: 3600, 4: 1600}   # how many of each length are listed

# Words of the facts, which a handful of questions hold each: said here too, they are heard as well.
RARE_REPEATS = {2: 2000, 3: 1200}


def number(n):
    """0..999 in words, American style."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return (TENS[n // 10] + (" " + ONES[n % 10] if n % 10 else "")).strip()
    rest = " " + number(n % 100) if n % 100 else ""
    return ONES[n // 100] + " hundred" + rest


def article(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def ask(kind, answer, *phrasings):
    return [(q, answer, kind) for q in phrasings]


def arithmetic():
    out = []
    for kind, word, pairs in (
            ("add", "plus", [(a, b, a + b) for a in range(21) for b in range(21)]),
            ("sub", "minus", [(a, b, a - b) for a in range(21) for b in range(a + 1)]),
            ("mul", "times", [(a, b, a * b) for a in range(13) for b in range(13)])):
        for a, b, c in pairs:
            sum_ = f"{number(a)} {word} {number(b)}"
            out += ask(kind, f"{sum_} is {number(c)}", f"what is {sum_}",
                       f"how much is {sum_}", f"tell me {sum_}")
    return out


def numbers():
    out = []
    for n in range(1, 100):
        for side, m in (("after", n + 1), ("before", n - 1)):
            out += ask("num", f"the number {side} {number(n)} is {number(m)}",
                       f"what number comes {side} {number(n)}",
                       f"which number is {side} {number(n)}",
                       f"tell me the number {side} {number(n)}")
    return out


def counting():
    out = []
    for a in range(0, 17):
        for b in range(a + 2, min(a + 7, 21)):
            told = " ".join(number(n) for n in range(a, b + 1))
            span = f"from {number(a)} to {number(b)}"
            out += ask("count", told, f"count {span}", f"please count {span}",
                       f"can you count {span}")
    return out


def geography():
    out = []
    for land, city in CAPITALS.items():
        out += ask("cap", f"the capital of {land} is {city}",
                   f"what is the capital of {land}", f"name the capital of {land}",
                   f"do you know the capital of {land}",
                   f"tell me the capital of {land}",
                   f"which city is the capital of {land}")
        out += ask("rcap", f"{city} is the capital of {land}",
                   f"{city} is the capital of which country",
                   f"which country has the capital {city}",
                   f"what country is {city} the capital of",
                   f"of which country is {city} the capital")
    return out


def opposites():
    out = []
    for pair in OPPOSITES:
        for a, b in (pair, pair[::-1]):
            out += ask("opp", f"the opposite of {a} is {b}",
                       f"what is the opposite of {a}", f"tell me the opposite of {a}",
                       f"name the opposite of {a}", f"do you know the opposite of {a}")
    return out


def calendar():
    out = []
    for what, names in (("day", DAYS), ("month", MONTHS)):
        for i, name in enumerate(names):
            for side, step in (("after", 1), ("before", -1)):
                other = names[(i + step) % len(names)]
                out += ask("seq", f"the {what} {side} {name} is {other}",
                           f"what {what} comes {side} {name}",
                           f"which {what} is {side} {name}",
                           f"tell me the {what} {side} {name}")
            whole = {"day": "week", "month": "year"}[what]
            out += ask("seq", f"the {ORDINALS[i]} {what} is {name}",
                       f"what is the {ORDINALS[i]} {what} of the {whole}",
                       f"which {what} is the {ORDINALS[i]}",
                       f"name the {ORDINALS[i]} {what} of the {whole}")
    for month, n in MONTH_DAYS.items():
        out += ask("mdays", f"{month} has {number(n)} days",
                   f"how many days does {month} have",
                   f"how many days are in {month}", f"tell me the days in {month}")
    return out


def things():
    out = []
    for animal, n in LEGS.items():
        legs = "no" if n == 0 else number(n)
        out += ask("legs", f"{article(animal)} has {legs} legs",
                   f"how many legs does {article(animal)} have",
                   f"how many legs has {article(animal)}",
                   f"tell me how many legs {article(animal)} has")
    for animal, sound in SOUNDS.items():
        out += ask("sound", f"{article(animal)} says {sound}",
                   f"what does {article(animal)} say",
                   f"what sound does {article(animal)} make",
                   f"which sound comes from {article(animal)}")
    for thing, colour in COLOURS.items():
        out += ask("colour", f"{thing} is {colour}", f"what color is {thing}",
                   f"what is the color of {thing}", f"which color has {thing}",
                   f"tell me the color of {thing}")
    for part, whole, n in UNITS:
        out += ask("unit", f"{whole} has {number(n)} {part}",
                   f"how many {part} are in {whole}",
                   f"how many {part} does {whole} have",
                   f"tell me how many {part} {whole} has")
    return out


def rare_words():
    """Single words of the facts that REPEAT_WORDS lacks, sorted: places, opposites, days, animals, things."""
    places = [*CAPITALS, *CAPITALS.values()]
    things_ = [thing.split()[-1] for thing in COLOURS]
    every = [*places, *(w for pair in OPPOSITES for w in pair), *DAYS, *MONTHS, *LEGS, *things_]
    return sorted({w for w in every if " " not in w} - set(REPEAT_WORDS))


RARE_WORDS = rare_words()


def repeat_question(rng, size, words=REPEAT_WORDS):
    """One 'say ...' question with `size` different words, drawn from rng."""
    said = " ".join(rng.sample(words, size))
    lead = rng.choice(("say", "please say", "repeat after me", "can you say"))
    return f"{lead} {said}", f"you said {said}", "repeat"


def repeats():
    rng = random.Random(20260101)
    out = {}
    for counts, words in ((REPEATS, REPEAT_WORDS), (RARE_REPEATS, RARE_WORDS)):
        for size, count in counts.items():
            while count:
                q = repeat_question(rng, size, words)
                if q[0] not in out:
                    out[q[0]] = q
                    count -= 1
    return list(out.values())


def chat():
    return [(q, a, "chat") for q, a in CHAT]


def facts():
    return (arithmetic() + numbers() + counting() + geography() + opposites()
            + calendar() + things())


def whole_world():
    return chat() + facts() + repeats()


def questions():
    """All (question, answer, kind) triples, held-out ones included."""
    every = int(os.environ.get("TINY_EVERY", "1"))
    return [q for q in whole_world() if zlib.crc32(q[1].encode()) % every == 0]


CHAT_QUESTIONS = frozenset(q for q, _ in CHAT)


def is_held_out(question):
    """True for about 1 question in 16; no training step may see these."""
    if question in CHAT_QUESTIONS:
        return False
    return hashlib.sha256(question.encode()).digest()[0] < 0x10


def words():
    """Every word of the domain, sorted."""
    seen = set(REPEAT_WORDS)
    for q, a, _ in whole_world():
        seen.update(q.split())
        seen.update(a.split())
    return sorted(seen)


if __name__ == "__main__":
    from collections import Counter
    qs = questions()
    assert len({q for q, _, _ in qs}) == len(qs), "a question is listed twice"
    print(len(qs), "questions,", len({a for _, a, _ in qs}), "answers,",
          len(words()), "words,", sum(is_held_out(q) for q, _, _ in qs), "held out")
    print(Counter(k for _, _, k in qs))
    print("mean answer", sum(len(a.split()) for _, a, _ in qs) / len(qs),
          "longest", max(len(a.split()) for _, a, _ in qs))
