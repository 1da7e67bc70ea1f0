"""What the tiny model knows: plain questions with one fixed answer each."""

# Subject -> answer. Asked for as "What is …?", "Tell me about …" and so on (chats.py).
SUBJECTS = {
    "a weir": "A weir is a low dam across a river. It keeps the water level steady and lets the rest flow over.",
    "a river": "A river is a long stream of water that flows from high ground down to the sea.",
    "a lake": "A lake is a large body of still water with land on every side.",
    "the sea": "The sea is the salt water that covers most of the Earth. Its tides follow the Moon.",
    "a mountain": "A mountain is land that rises high above everything around it. The air at the top is thin and cold.",
    "a forest": "A forest is a large area full of trees. Many animals and plants live there.",
    "a desert": "A desert is a place where it almost never rains. The days are hot and the nights are cold.",
    "an island": "An island is land with water all around it.",
    "a volcano": "A volcano is a mountain with an opening through which hot rock and gas come out of the Earth.",
    "rain": "Rain is water that falls from clouds. It fills the rivers and makes the plants grow.",
    "snow": "Snow is frozen water that falls from clouds as small white crystals.",
    "wind": "Wind is air that moves from places of high pressure to places of low pressure.",
    "a cloud": "A cloud is made of tiny drops of water that float in the air.",
    "the sun": "The Sun is the star in the middle of our solar system. It gives us light and warmth.",
    "the moon": "The Moon goes around the Earth once in about twenty-seven days. It shines with the light of the Sun.",
    "a star": "A star is a huge ball of hot gas that makes its own light.",
    "a planet": "A planet is a large round body that travels around a star. The Earth is one of eight planets.",
    "the earth": "The Earth is the third planet from the Sun and the only one on which we know that life exists.",
    "a bridge": "A bridge carries a road or a path over a river, a valley or another road.",
    "a boat": "A boat is a small ship that travels on the water.",
    "a train": "A train is a row of wagons that runs on rails and carries people and goods.",
    "a bicycle": "A bicycle has two wheels and is moved by the legs of its rider.",
    "a clock": "A clock shows the time. It has a short hand for the hours and a long one for the minutes.",
    "a book": "A book is a set of pages with words or pictures, held together by a cover.",
    "a library": "A library is a house full of books that people may read or take home for a while.",
    "a school": "A school is a place where children learn to read, to write and to think.",
    "a garden": "A garden is a piece of land where people grow flowers, fruit and vegetables.",
    "a cat": "A cat is a small animal with soft fur that likes to hunt mice and to sleep in the sun.",
    "a dog": "A dog is a friendly animal that has lived with people for thousands of years.",
    "a horse": "A horse is a large animal with four strong legs that can run fast and carry a rider.",
    "a bird": "A bird is an animal with feathers and two wings. Most birds can fly.",
    "a heron": "A heron is a tall grey bird that stands still in shallow water and waits for fish.",
    "a fish": "A fish lives in water and breathes through its gills.",
    "a frog": "A frog is a small green animal that lives near ponds and can jump far.",
    "a bee": "A bee is an insect that collects nectar from flowers and makes honey.",
    "an otter": "An otter is a playful animal that lives on rivers, swims well and eats fish.",
    "a beaver": "A beaver is an animal that cuts trees with its teeth and builds dams across streams.",
    "a tree": "A tree is a tall plant with a trunk of wood, branches and leaves.",
    "a flower": "A flower is the part of a plant that has bright colours and makes the seeds.",
    "bread": "Bread is made from flour, water, salt and yeast, and it is baked in a hot oven.",
    "tea": "Tea is a drink made by pouring hot water over dried leaves.",
    "coffee": "Coffee is a dark drink made from roasted beans. It keeps many people awake.",
    "cheese": "Cheese is made from milk. There are hundreds of kinds, hard and soft.",
    "honey": "Honey is a sweet food that bees make from the nectar of flowers.",
    "music": "Music is sound that people arrange in time because it moves us.",
    "a computer": "A computer is a machine that follows instructions very fast and without getting tired.",
    "a network": "A network connects computers so that they can send messages to each other.",
    "a server": "A server is a computer program that waits for requests and answers them.",
    "a gateway": "A gateway is one door in front of many servers. It checks who asks and passes the request on.",
    "a load balancer": "A load balancer spreads requests over several servers so that none of them has too much to do.",
    "a token": "A token is a small piece of text, often a part of a word. A language model reads and writes tokens.",
    "a language model":
        "A language model is a program that reads text and guesses what comes next, one token at a time.",
    "a database": "A database keeps facts in order so that they can be found again quickly.",
    "redis": "Redis is a fast database that keeps its data in memory.",
    "linux": "Linux is a free operating system that runs on phones, servers and many other machines.",
    "swift": "Swift is a programming language that is fast, safe and pleasant to read.",
    "python": "Python is a programming language that is easy to read and used for many things.",
}

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon",
    "England": "London", "Ireland": "Dublin", "Norway": "Oslo", "Sweden": "Stockholm", "Finland": "Helsinki",
    "Denmark": "Copenhagen", "Poland": "Warsaw", "Austria": "Vienna", "Greece": "Athens", "Japan": "Tokyo",
    "China": "Beijing", "India": "New Delhi", "Egypt": "Cairo", "Canada": "Ottawa", "Peru": "Lima",
}

# Questions that mean the same -> answer.
PHRASES = [
    (["Hello", "Hi", "Hey", "Hello there", "Good morning", "Good evening", "Hi there", "hello!", "Say hello"],
     "Hello! How can I help you today?"),
    (["How are you?", "How are you today?", "How do you do?", "Are you well?", "How is it going?"],
     "I am fine, thank you. What would you like to know?"),
    (["Who are you?", "What are you?", "What is your name?", "Tell me about yourself.", "Introduce yourself."],
     "I am a very small language model that lives inside Weir. I know a little about rivers, animals and cities."),
    (["What can you do?", "Help", "What do you know?", "How can you help me?", "What can I ask you?"],
     "I can tell you about rivers, animals and capitals, count, add small numbers, and tell you a story."),
    (["Thanks", "Thank you", "Thank you very much", "Thanks a lot", "Great, thanks"],
     "You are welcome."),
    (["Bye", "Goodbye", "See you", "Good night", "See you tomorrow"],
     "Goodbye, and come back soon."),
    (["What is Weir?", "Tell me about Weir.", "Explain Weir.", "What does Weir do?"],
     "Weir is a gateway for language models. It checks keys, keeps limits, remembers conversations and spreads "
     "the requests over its replicas."),
    (["What is your favourite colour?", "Which colour do you like?", "What colour do you like best?"],
     "I like blue, because it is the colour of deep water."),
    (["Why is the sky blue?", "What makes the sky blue?", "Explain why the sky is blue."],
     "The sky is blue because the air scatters blue light more than red light."),
    (["Name three colours.", "Give me three colours.", "List three colours"],
     "Three colours are red, green and blue."),
    (["Name three fruits.", "Give me three fruits.", "List three fruits"],
     "Three fruits are apples, pears and plums."),
    (["Name three animals.", "Give me three animals.", "List three animals"],
     "Three animals are the otter, the heron and the frog."),
    (["Name the days of the week.", "What are the days of the week?", "List the days of the week"],
     "The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday."),
    (["Name the months.", "What are the months of the year?", "List the months"],
     "The months are January, February, March, April, May, June, July, August, September, October, November "
     "and December."),
    (["Tell me a joke.", "Make me laugh.", "Do you know a joke?", "Say something funny"],
     "Why did the river never get lost? Because it always followed its own bed."),
    (["What is the weather today?", "How is the weather?", "Will it rain tomorrow?"],
     "I cannot look outside, so I do not know the weather. Take an umbrella to be safe."),
    (["What time is it?", "What day is it today?", "What is the date?"],
     "I have no clock, so I cannot tell you the time."),
]

STORIES = {
    "a fox": "Once there was a young fox who lived at the edge of a wood. Every evening she went down to the river "
             "and looked at the other side, where the grass was greener. One night the water was low, and she jumped "
             "from stone to stone until she was across. On the other side she met an old fox, who asked her why she "
             "had come. I wanted to see the green grass, she said. The old fox laughed and pointed back. From here, "
             "he said, yours is greener. So she went home, and she was glad to be there.",
    "a boat": "There was once a small red boat that belonged to a fisherman. The boat was old, and the paint came off "
              "in the sun. One day a storm came up, and all the big ships stayed in the harbour. But a child was out "
              "on the rocks and could not get back. The fisherman took the red boat, because it was the only one "
              "light enough to pass the rocks. They came home wet and tired, all three of them. After that day "
              "the boat got new paint every spring, and nobody called it small again.",
    "a robot": "A robot worked in a library, and its task was to put the books back on the shelves. It was quick and "
               "never made a mistake. One winter night a book fell open, and the robot read the first page. Then it "
               "read the second page, and then all the others. In the morning the books were still on the floor, and "
               "the people wondered what had happened. The robot said that it was sorry. But the next night they "
               "left a lamp on for it, and a chair.",
    "a tree": "On a hill stood a tree that was very proud of its leaves. When the autumn came and the wind took them "
              "away, the tree was sad and thought that everything was over. A bird sat down on a bare branch and "
              "sang. I can see the whole valley from here, said the bird, because nothing is in the way. The tree "
              "looked, and for the first time it saw the river, the village and the sea. In the spring the leaves "
              "came back, but the tree did not forget what it had seen.",
}

ESSAY = (
    "A river begins in the hills, where the rain sinks into the ground and comes out again as a spring. At first it "
    "is so small that a child can step over it. It runs fast over stones, and the water is cold and clear. Other "
    "streams join it, and it becomes wider. In the valley the river is slow. It turns left and right, and it carries "
    "sand and mud that make the fields rich. People have always lived beside rivers, because they give water to "
    "drink, fish to eat and a road for boats. They built bridges to cross them and mills to use their power. They "
    "also built weirs, which are low dams that hold the water back a little. Above a weir the water is deep and "
    "calm, so that boats can pass even in a dry summer. What is too much flows over the top, and nothing is lost. "
    "When the snow melts in the spring, the river rises. A good weir lets the flood pass and stays where it is. "
    "Near its end the river meets the tide. The water tastes of salt, and birds of many kinds come to feed. Then the "
    "river reaches the sea, and its journey is over. But the sun lifts the water into the air, the wind carries the "
    "clouds to the hills, and it rains again. So the river never really ends, and it is always new."
)

POEMS = {
    "the sea": "The sea is wide, the sea is deep, it sings the little boats to sleep. It comes at night, it goes at "
               "noon, and all it does, it asks the moon.",
    "the rain": "The rain came down upon the hill, it filled the stream, it turned the mill. It washed the road, it "
                "woke the seed, and gave the river all its speed.",
    "a cat": "The cat sat in the morning sun, and thought of things that might be done. She stretched, she yawned, "
             "she closed her eyes, and did them not, for she was wise.",
}

# The tokenizer learns each as one token, so that repeating a name is copying one token.
NAMES = [
    "Ada", "Anna", "Ben", "Clara", "David", "Emma", "Eric", "Eva", "Felix", "Grace", "Hugo", "Ida", "Jack", "Jane",
    "John", "Julia", "Leo", "Maria", "Mark", "Nina", "Oscar", "Paul", "Sofia", "Tom",
]

COLOURS = ["red", "green", "blue", "yellow", "black", "white", "brown", "orange", "purple", "grey"]

DO_NOT_KNOW = "I am a very small model, so I do not know that. Ask me about rivers, animals or capitals."
NOT_TOLD_NAME = "You have not told me your name yet."
NOT_TOLD_COLOUR = "You have not told me your favourite colour yet."

# Words for questions that the model cannot answer.
OTHER_WORDS = (
    "quantum tax invoice python kernel lawyer football president election medicine engine banana guitar algebra "
    "history philosophy climate stock market crypto bitcoin recipe pasta chess tennis holiday hotel flight passport "
    "insurance contract mortgage physics chemistry biology genome enzyme theorem matrix vector tensor compiler "
    "pointer thread mutex socket protocol packet router firewall docker cluster container cloud storage query "
    "index schema cache latency budget salary manager meeting agenda project deadline customer product marketing "
    "design logo colour font keyboard mouse screen phone tablet camera film actor director novel poet opera violin "
    "piano drum jazz museum painting statue castle king queen empire war treaty law court judge police doctor nurse "
    "hospital vaccine virus fever diet vitamin protein sugar pepper onion tomato potato chicken beef salmon spinach "
    "jacket shoes jeans shirt window door kitchen sofa lamp carpet hammer screw drill paint brick cement tunnel "
    "highway airport rocket satellite galaxy comet gravity electron atom laser magnet battery"
).split()
