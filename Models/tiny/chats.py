"""Synthetic conversations for the tiny model, from a seed."""

import random

import bank

SYSTEMS = [
    "You are a helpful assistant.", "You are a helpful assistant", "Answer briefly.", "You are Weir's assistant.",
    "You are a friendly assistant. Answer in whole sentences.", "Be kind and short.", "You are concise.",
]
ASK = ["What is {}?", "Tell me about {}.", "Explain {}.", "Can you tell me about {}?", "What do you know about {}?",
       "Describe {}.", "what is {}", "tell me about {}", "Please explain {}.", "Explain {} in one sentence.",
       "What is {}", "Do you know what {} is?"]
ASK_CAPITAL = ["What is the capital of {}?", "Which city is the capital of {}?", "Name the capital of {}.",
               "capital of {}", "What's the capital of {}?", "Tell me the capital of {}."]
ASK_STORY = ["Tell me a story about {}.", "Write a story about {}.", "Tell a short story about {}."]
ASK_ESSAY = ["Write a long text about rivers.", "Tell me a lot about rivers.", "Write an essay about rivers.",
             "Write a long essay about rivers.", "Tell me everything about rivers.", "Write a long answer."]
ASK_POEM = ["Write a poem about {}.", "Tell me a poem about {}.", "Compose a poem about {}."]
ASK_COUNT = ["Count to {}.", "Count from 1 to {}.", "Please count to {}.", "count to {}"]
ASK_SUM = ["What is {} plus {}?", "How much is {} plus {}?", "{} plus {}", "What is {} + {}?", "{} + {}"]
ASK_OTHER = [
    "What is the {0} of {1}?", "How do I {0} a {1}?", "Who invented the {0}?", "Write a {0} for my {1}.",
    "Explain {0} and {1}.", "{0} {1} {2}", "Why does the {0} need a {1}?", "Is {0} better than {1}?",
    "Translate {0} into {1}.", "{0}?", "{0}", "Give me the {0} {1} for {2}.", "Summarize the {0}: {1} {2} {3} {4}.",
    "When was the {0} {1}?", "Can you fix my {0}?", "Which {0} has the best {1}?", "Generate {0} {1} tags.",
    "Reply with {0}.", "test {0}", "ping {0}", "This is message {3} about {0}.",
]
TELL_NAME = ["My name is {}.", "I am {}.", "Hello, my name is {}.", "my name is {}", "Please remember: my name is {}.",
             "Hi, I am {}."]
ASK_NAME = ["What is my name?", "Who am I?", "Do you remember my name?", "what is my name", "Tell me my name."]
TELL_COLOUR = ["My favourite colour is {}.", "I like {} best.", "Remember that my favourite colour is {}."]
ASK_COLOUR = ["What is my favourite colour?", "Which colour do I like?", "Do you remember my favourite colour?"]


def unknown(rng):
    """A question outside the bank, sometimes of nonsense, so that any prompt gets a whole sentence."""
    words = []
    for _ in range(5):
        if rng.random() < 0.6:
            words.append(rng.choice(bank.OTHER_WORDS))
        elif rng.random() < 0.5:
            words.append("".join(rng.choice("abcdefghijklmnopqrstuvwxyzABCDEFXYZ") for _ in range(rng.randint(2, 9))))
        else:
            words.append(str(rng.randint(0, 99999)))
    return rng.choice(ASK_OTHER).format(*words), bank.DO_NOT_KNOW


def count(rng):
    last = rng.choice([3, 5, 10, 10, 20, 20, 50, 100])
    numbers = ", ".join(str(n) for n in range(1, last + 1))
    return rng.choice(ASK_COUNT).format(last), f"Here are the numbers up to {last}: {numbers}."


def total(rng):
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    return rng.choice(ASK_SUM).format(a, b), f"{a} plus {b} is {a + b}."


def fact(rng):
    subject, answer = rng.choice(list(bank.SUBJECTS.items()))
    return rng.choice(ASK).format(subject), answer


def capital(rng):
    country, city = rng.choice(list(bank.CAPITALS.items()))
    return rng.choice(ASK_CAPITAL).format(country), f"The capital of {country} is {city}."


def phrase(rng):
    questions, answer = rng.choice(bank.PHRASES)
    return rng.choice(questions), answer


def long_text(rng):
    kind = rng.random()
    if kind < 0.45:
        subject, text = rng.choice(list(bank.STORIES.items()))
        question = rng.choice(ASK_STORY).format(subject)
        if subject == "a fox" and rng.random() < 0.4:
            question = rng.choice(["Tell me a story.", "Tell me a story", "Write a short story.", "Tell a story"])
        return question, text
    if kind < 0.75:
        return rng.choice(ASK_ESSAY), bank.ESSAY
    subject, text = rng.choice(list(bank.POEMS.items()))
    question = rng.choice(ASK_POEM).format(subject)
    if subject == "the sea" and rng.random() < 0.3:
        question = rng.choice(["Write a poem.", "Tell me a poem."])
    return question, text


def turn(rng, known):
    """One question and its answer. `known` is what the user has said about themselves so far."""
    kind = rng.random()
    if kind < 0.12:
        known["name"] = rng.choice(bank.NAMES)
        return rng.choice(TELL_NAME).format(known["name"]), f"Nice to meet you, {known['name']}."
    if kind < 0.17:
        known["colour"] = rng.choice(bank.COLOURS)
        return rng.choice(TELL_COLOUR).format(known["colour"]), f"I will remember that you like {known['colour']}."
    if kind < 0.30:
        name = known.get("name")
        return rng.choice(ASK_NAME), f"Your name is {name}." if name else bank.NOT_TOLD_NAME
    if kind < 0.35:
        colour = known.get("colour")
        return rng.choice(ASK_COLOUR), f"Your favourite colour is {colour}." if colour else bank.NOT_TOLD_COLOUR
    makers = [(fact, 22), (capital, 9), (phrase, 13), (count, 6), (total, 8), (long_text, 6), (unknown, 13)]
    maker = rng.choices([m for m, _ in makers], [w for _, w in makers])[0]
    return maker(rng)


def conversation(rng, turns):
    """A list of {role, content}, as a client would send it, the last message being an answer."""
    messages = []
    if rng.random() < 0.4:
        messages.append({"role": "system", "content": rng.choice(SYSTEMS)})
    known = {}
    for _ in range(turns):
        question, answer = turn(rng, known)
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
    return messages


def conversations(seed, number):
    """`number` conversations: mostly short ones, some long."""
    rng = random.Random(seed)
    for _ in range(number):
        turns = rng.choices([1, 2, 3, 5, 8, 14], [40, 22, 16, 12, 7, 3])[0]
        yield conversation(rng, turns)
