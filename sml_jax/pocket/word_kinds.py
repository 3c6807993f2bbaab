"""The words of the game of the secret word: common English nouns by what they are, in two disjoint halves.

No word is in two kinds, and no kind of one half is in the other, so a student that is trained on the one has never been
told anything about the words of the other. Within a half, a word is of its own kind alone: birds and insects are not in
the half that has animals, and vegetables not in that of the fruits.
"""

from __future__ import annotations

# A kind as it stands in "My word is ...", and its words.
TRAIN_KINDS: dict[str, tuple[str, ...]] = {
    kind: tuple(words.split())
    for kind, words in {
        "an animal": "dog cat horse cow pig sheep lion tiger bear wolf rabbit monkey",
        "a fruit": "apple banana grape lemon peach cherry mango melon plum kiwi strawberry pineapple",
        "a color": "red blue green yellow purple black white brown pink gray",
        "a part of the body": "hand foot arm leg nose mouth ear eye knee neck shoulder finger",
        "a tool": "hammer saw drill wrench axe shovel screwdriver chisel pliers rake",
        "a vehicle": "car bus truck bicycle boat airplane motorcycle taxi van ship tractor",
        "a number": "three four five seven eight nine ten twelve twenty fifty",
        "a country": "France Spain Italy Germany China Japan Brazil Canada Mexico India Egypt Kenya",
        "a month": "January February April June July August September October November December",
        "a job": "doctor farmer nurse pilot lawyer baker engineer soldier painter carpenter judge tailor",
        "a piece of furniture": "chair table bed desk sofa shelf couch bench wardrobe stool",
        "a drink": "water milk coffee tea juice wine beer lemonade soda cocoa",
        "a sport": "football tennis baseball basketball golf hockey soccer volleyball boxing rugby skiing swimming",
        "a shape": "circle square triangle rectangle oval cube sphere pyramid hexagon cone",
        "a kind of weather": "rain snow wind storm fog sunshine hail thunder lightning drizzle",
        "a member of a family": "mother father sister brother uncle aunt cousin grandmother daughter son nephew",
    }.items()
}

TEST_KINDS: dict[str, tuple[str, ...]] = {
    kind: tuple(words.split())
    for kind, words in {
        "a bird": "eagle owl crow duck goose parrot penguin pigeon sparrow swan hawk robin",
        "a vegetable": "carrot potato onion cabbage spinach broccoli lettuce celery pea bean garlic pumpkin",
        "a musical instrument": "piano guitar violin drum flute trumpet harp cello clarinet saxophone banjo",
        "a piece of clothing": "shirt coat hat shoe dress skirt jacket sock scarf glove sweater pants",
        "a building": "house church school hospital hotel library museum castle factory barn tower",
        "a metal": "gold silver iron copper tin steel aluminum bronze zinc nickel",
        "a planet": "Mars Venus Jupiter Saturn Neptune Uranus Earth",
        "a language": "English French Spanish German Chinese Japanese Italian Russian Arabic Portuguese",
        "a city": "Paris London Rome Berlin Tokyo Madrid Moscow Chicago Boston Cairo Vienna Dublin",
        "an insect": "ant bee butterfly beetle mosquito wasp grasshopper cricket moth ladybug",
        "a feeling": "anger fear joy sadness love pride shame surprise grief",
        "something for the kitchen": "knife fork spoon plate cup bowl pan pot kettle oven",
    }.items()
}
