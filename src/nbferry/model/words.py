"""The words of codes: 2,048 of them, so that one word carries 11 bits.

Most are from EFF's large and short word lists (https://www.eff.org/dice; Creative Commons Attribution 3.0 US,
https://creativecommons.org/licenses/by/3.0/us/) and from the English list of BIP-39 (MIT licence, copyright
2013-2016 Pavol Rusnak); the rest, names of plants, animals, food and tools, was added here. The selection and
the order are nbferry's: lower-case ASCII, 3 to 8 letters; the first four letters name a word; no two are one
typing error apart; no word sounds like another, is spelled differently in Britain and America, is a name that a
code would give a second meaning, or is unkind. ``tests/unit/model/test_words.py`` checks what a machine can check.

Words are never removed or reordered while a code issued with them may be in use: other computers may have the
same list.
"""

from __future__ import annotations

from difflib import get_close_matches


def nearest(word: str) -> str | None:
    """Find the most similar word of the list; None if no word is similar."""
    close = get_close_matches(word, WORDS, n=1, cutoff=0.6)
    return close[0] if close else None


def known(word: str) -> bool:
    """Whether a word is in the list."""
    return word in _SET


_LIST = """
aardvark abacus ability abrasive abroad absence absolve abstract acacia access acclaim account accurate
achieve acid acorn acoustic acquire acre acrobat acrylic action actor actress adapt admiral adobe advance
advent advice aerial aerosol affirm affluent afford afloat afoot agate agent agile agree airbag airfield
airline airport airship alarm album alcove alert algebra alias alibi alkaline alloy almanac almond aloha
alpaca alphabet alpine alright altitude amateur amber ambition amend amethyst amnesty amount amplify amulet
amuse anaconda anagram analyst anatomy anchor ancient angelic angle angular animal anise annotate annual
answer antacid antelope anthill antique antler antonym anvil appendix apple approve apricot apron aqua
aqueduct aquifer archer arctic arena argue armada armband armchair armoire aroma arrange arrive artery
artist artwork ascend aspen asphalt aspire asset assist atelier athlete atlas atoll atom atrium attach attic
audio august author auto autumn avatar avocado await awake award awesome awning axiom azalea azure baby
backpack bacon badge bagel baggy bagpipe baguette baker balance balcony balloon balsamic bamboo banana
bandage banjo banknote banner banquet barber barcode bargain barley barman barn barrel basalt baseball basil
basket bassoon bathrobe battery bayou beanbag beauty bedrock begonia behave belfry bellows belt bench beret
beverage bicycle billiard binary binder biology birch birdcage bishop bistro black blade blanket blazer
bleach blender blimp blink blizzard blob blooper blossom blouse bluebell bluff blunt blur boat bobbin bobcat
bobsled boil bonanza bonfire bonnet bonsai book boost booth borrow boss botanist botch bottle bounce bouquet
boutique bowler boxer bracelet bramble brand brave breeze briar bridge bright brioche brisk brittle broaden
broccoli broiler broker bronze broom brother brownie brunette brush bubble bucket buddy budget buffalo bugle
builder bulb bulgur bulletin bundle bungalow bunker bunny buoyant bureau burger burrito burst bushel butter
buzzard cabaret cabbage cabin cable caboose cactus cadence cafe calamari calculus caliper calorie camera
camisole campfire canal candle canister canoe canteen canyon capacity capsule captain caramel carbon card
cargo caribou carnival carpet carriage carwash cascade cashew cassava catapult catchy category catnip cattle
cauldron cavalry caviar celery cellist cement census century ceremony chair chalet champion chant chapter
charcoal chase chateau checkers cheddar cheek chef chemist cherub chestnut chevron chicory child chimney
chipmunk chirpy chisel chives chloride chorus chowder chrome chubby chuckle chug chunk churn chutney cicada
cider cilantro cinema cinnamon circle citadel citizen citron city civic clang clap clarinet clatter clean
clerk client cliff climate clinic clique clock cloister closet cloth cloud clover club clump clutch coach
coast cobalt cobbler cobra cockpit coconut code coffee cohesive coin coleslaw coliseum collar colony column
comb comet comfort comic comma composer comrade concert condor confirm congress connect consul contact
convoy cookie copilot copper coral cordial cork cornet corporal corridor corsage cosmos cotton country
coupon courier couscous covenant cowboy cowslip crab cracker cradle craft crane crater crawl cream credit
crescent crew cricket crisp criteria croak crochet crop croquet cross crouton crowd crucial crunch crust
crypt crystal cube cubic cucumber cufflink culinary culture cupboard cupcake cupid cupola curator curlew
curry curtain curve cushion cusp custard cutlass cycle cylinder cypress daffodil daisy dance dandy darkroom
darts dash database date daughter dawn daybreak daydream daytime decade decibel deco defy degree deliver
delta denim depart depot depth derby describe design desk detail detect develop device dewdrop diadem
diagram dial diamond diary dictate diesel digit dignity diligent dilute dimple dingo dinner dinosaur diploma
direct dirt discover dispatch distance divan dividend doctor dogwood dolly dolphin domain domestic domino
donate donkey doodle doorbell dosage dossier double dove dragon drama draw dress dribble drift drill drive
droop droplet drum duchess duck dugout dumbbell dumpling dune dungaree duo duration dust duty duvet dwell
dynamic eager eagle earmuff earphone earring earth east ebony echo eclair eclipse ecology economy edge edict
editor educate eel eggnog eggplant egret eject elbow elder electron elegant element elephant elevator elf
elite elixir email embark emblem embody embrace emerald emission emperor empire employ empower emu enable
enact encircle enclose encore encrypt endorse energy enforce engine enhance enlist enter entryway envelope
envoy enzyme epic epilogue episode epoch equal equip eraser ermine errand espresso essay essence estate
estimate estuary etch eternal ethics evening evidence evoke evolve example exchange excite exercise exhibit
exotic expand expert explorer eyebrow eyelid fabric facade face facility factory faculty fairway faith
falconer family fan farmer fashion fathom feather federal fence fern ferret festival fiction fiddle fiesta
fifth figure filament filly film filter finale finch finesse finish firefly first fishbowl five fjord flag
flamingo flannel flask fleece flick flight flip florist flotilla flutter flyer foam focaccia focus folder
folklore follow fondue font food football forest forklift formula forte fossil foundry fox fractal fragrant
frame freesia french fresh friend frisky frog frolic frontier frost frugal fruit fuchsia fuel fugue fulcrum
fusion future gadget gala gallery gambit game gamma garage garden gargoyle garlic garment garret gatepost
gather gauze gavel gazebo gearbox gelato gemstone general genial genome genre gentle genuine geology
geometry geranium gesture getaway geyser gherkin giant gift gigabyte giggle gimmick ginger ginseng giraffe
girl gizmo glacier glance glare glass glide glimpse glisten glory glossary glove glow glucose glue goalpost
goblet goldfish golfer gondola gong goofy gopher gorge gourd gown graceful grader graffiti grain grammar
granite graph grasp gravy griddle grit grocer groove grotto grunge guava guidance guitar gulf gumbo gumdrop
guru habitat hacienda haddock haiku half halibut hallway halter hamlet hammer hamster handbag hangout hardy
harmony harness harp harvest hatchet hawk hawthorn hayride haystack hazelnut headlamp health heater heavy
hedgehog heirloom helix hello helmet help hen herald herbal heritage heroic herring hexagon hibiscus
highland hiker hilltop hinge history hoist holiday holster homepage honey hoodie hops horizon horn hose
hubcap hull human humble humid hurdle hurray hut hyacinth hybrid hydrant hyphen iceberg icicle icing icon
idiom igloo ignition iguana illusion image impala impulse inbox incense income index indigo industry inkblot
inkwell inlet innocent input insect insignia inspire install intact integer intrepid inventor invite invoice
iris ironwood island isobar isotope ivory ivy jacket jade jaguar jamboree janitor jar jasmine jasper java
jawbone jelly jersey jetty jiffy job jockey jogger john joke journal joyful jubilee judge judo juggler juice
jumper junction jungle junior junkyard justice juvenile kangaroo karate karma kayak keep kestrel keyboard
keyhole keynote kickball kiln kilowatt kimono kindling kingdom kiosk kitchen kite kiwi knapsack knee
knitwear knoll knuckle koala kudos kumquat lacquer lacrosse ladder ladle lady lagoon lair lake laminate lamp
landmark language lantern lanyard lapel laptop lasagna lasso lathe laugh laundry laurel lavender lawyer
layover leaflet leapfrog learn lectern ledger legato legend legume leisure lemming lemon lemur lens lentil
leopard letdown lettuce level lexicon liberty library life lighter lilac lily limerick limpet linen lion
list little lively lizard llama lobby lobster locker locust lodestar lodge loft logic logo lollipop longbow
lookout loom lorry lounge lozenge lucid lucky luggage lullaby lunar lunch luxury lyric macaroni machine
magazine magenta magician magma magnet magpie mahogany mailbox majesty mallard mammoth manage mandolin mango
manifest manor mansion mantis manual map marathon marble march margin marine marjoram market marmot marquee
marten marzipan mascara mason massive mastiff matador material math matinee matrix mattress maturity
maverick maximum maypole meadow measure meatball mechanic medley melody member memoir mentor menu merchant
merge meringue mermaid mesa message method metric midday midnight mill mimic mimosa mineral mingle minibus
minnow minstrel mint minute mirage mirror mixture mobile moccasin mocha mockup modify module molasses
mongoose monitor monocle month moon moped morsel mortar mosquito motel motion motor motto mountain mouse
movie muesli muffin mug mulberry multiple mummy mural museum mushroom music muskrat mustang myriad myrtle
mystery nacho napkin narrow narwhal native nature nautical navigate navy near necklace nectar needle neon
nephew nettle network neutron next nib nickel niece nifty nightcap nimble ninja ninth noble nomad noonday
normal northern nostril notebook nougat novelist nozzle nuance nugget number nursery nutmeg nylon oak oasis
oatcake oatmeal obelisk oboe observe obsidian ocean octave octopus office oilcloth oilskin okra old olive
omega onion online onyx opera opposite optic orator orbit orca orchard oregano orient origami ornament
osprey ostrich otter ottoman outboard outfield outline output oval ovation oven overcoat owl owner oxford
oxygen oyster pacific paddle padlock pageant pagoda painter palace palisade palm pampas panache pancake
panda panel panorama panther papaya paprika papyrus parade parcel pardon parent parfait park parquet parrot
parsley party passage pasta patch pathway patient patron pattern pavement paycheck peaceful peanut pebble
pecan peg pelican pencil pendulum penguin pennant pentagon pepper perch perfume permit person petal petrel
petunia pewter phantom pharaoh pheasant phoenix photo physical pianist piccolo picket picnic picture pigeon
pigment pigtail pika pilgrim pilot pinafore pinecone pink pinwheel pioneer piston pitcher pixel pizza plaid
plant plaque plastic platinum playpen plaza plenty pliers ploy plug plumage plywood podium poet point poise
poker polar polecat policy polo polymer pompom pony popcorn popular porpoise porridge porthole position
postcard potato pottery poultry pound powder prairie prelude prepare prestige prime princess priority prism
produce profile prologue promoter property prosper protect proud province prudent prune public pudding
pulpit pumpkin pundit puppet purchase purity purple purse push puzzle pyramid python quail quake quality
quantum quarry quasar quench question quiche quilt quintet quirk quiz quote radar radio raffle rafter
ragtime rail rainbow rally rampart ranch range rank rare raven ravioli reach reason rebuild recall receive
recital record recycle redwood reef referee refinery reflect regent region reindeer relax release relic
remain remember remix remove repair retreat reunion reward rewind rhapsody rhubarb ribbon ribcage rice
ricotta rinse ripen ripple ritual river roadmap robot rocket romance romp rope rosebud roster rosy rotate
roulette routine rowan rowboat rubber ruby rucksack ruler rumba runway russet rustic safari saga sailboat
salad salon salsa salt salute salvage sample sandal sapling sapphire sardine satchel satin saucer sauna
sausage savvy sawdust scaffold scale scan scarf scenery schedule scholar science scissors scooter scope
screen script scroll scrubber scuba seafood seagull seaport search seashore seaweed section security
seedling seesaw select semester seminar senate send senior sentence sepia sequin serenade serpent service
sesame session setup seven shadow shallot shampoo share shawl sheath sheet shelf shepherd sheriff shield
shift shimmer shine ship shoelace shortcut shoulder shovel shower shrimp shrub shutter sidecar sieve silk
silver simile siren sirloin sister sitar sitcom sixth skate sketch skier skipper skirt skittle skylight
slalom sleep slider slogan small smelter smooth snack snail snap snorkel snowdrop soapbox soccer social sofa
softball solstice solution solve sombrero sonata soprano sorbet sorrel souffle soup soybean spanner sparkle
spatula spectrum speedway spell sphere sphinx spice spinach spiral splash splendid splinter sponge spoon
sport spray spread spring sprocket spruce spyglass square squeeze squirrel stadium staff stage stamp stand
stapler starfish statue steamer stem stencil stereo steward stilts stingray stirrup stock storage stove
strainer street stripe stroller strudel stucco student sturgeon stylus sublime subtitle success suffix sugar
suitcase summit sunbeam sundown sunrise sunset superb supplier supreme surface surname surplus survey sushi
swallow sway sweater swim swing swipe swirl switch sycamore syllabus symphony syntax syrup system tabletop
taco tadpole tailor talent talisman tamarind tandem tangent tapestry tapir tarragon tartan task taste tavern
taxi teacher teal teammate teapot tearoom teaspoon teepee telegram temple tender tenfold tennis tent termite
terrace textile thatch theme theorem thermos thicket thimble thistle thread thrill throat thrush thunder
tiara tiebreak tiger tigress tilt timber tinker tinted tiny tip tissue title toaster toboggan together
tollgate tomato tongue tonic toolbox topaz topping topsoil torch tortilla toucan tourist tower township toy
track trade traffic trailer tramway tranquil travel tray treat treble trellis trend trial tribute tricycle
trident trifle trilogy trinket tripod triumph trolley trombone trophy trousers trowel trumpet trunk tugboat
tuition tulip tumbler tundra tunnel turbine turf turkey turmeric turnip turret turtle tuxedo tweed twilight
twin twist typeface typist ukulele umbrella uncle uncover unicycle unity upgrade upland uplift upload
upstairs urban utopia vacation vacuum valet valley valve vanilla vault vector veggie vehicle velocity velvet
vendor veneer venture venue veranda verdict verify vertex verve vessel vest viaduct vibrant victory video
view vigil vignette village vineyard vintage vinyl violin virtuoso visa visitor vitality vocal vogue voice
volcano voltage volume voucher voyager wafer wagon wagtail waiter walk wallaby walnut walrus waltz wand
warbler wardrobe warmth wasabi washer watchman waxwork wayside weasel weaver web wedding weekday welcome
wetland wheat whiskers width wigwam wildlife willow window winery winter wisdom wise wishbone wisteria
witness witty woman wombat wonder woodland wool word workday wreath wren wrestler wrinkle wrist yacht yam
yearbook yellow yeoman yodel yoga young youth yucca yuletide zebra zenith zephyr zeppelin zero zesty zigzag
zinc zipline zipper zircon zither zodiac zone zoo zucchini
"""

WORDS: tuple[str, ...] = tuple(_LIST.split())
"""In alphabetical order: a word's number is its place."""

_SET = frozenset(WORDS)
