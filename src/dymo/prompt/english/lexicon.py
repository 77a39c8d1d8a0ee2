"""The words whose class the reading of a prompt depends on: words of style, of camera, of place, and what cannot be drawn.

General English and the jargon of prompts; no names of artists, franchises or sentences.
"""

from __future__ import annotations

from importlib import resources


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


COLOURS = _set(
    "red orange yellow green blue purple white black brown grey gray pink cyan magenta turquoise teal violet indigo "
    "beige maroon crimson scarlet navy lavender lilac olive ivory amber golden silver gold tan bronze burgundy azure "
    "blonde blond ginger brunette chestnut coral cream emerald fuchsia jade khaki mauve mint mustard ochre peach rust "
    "salmon sapphire sepia taupe vermilion aqua"
)
# Adjectives that a tagger brought up on newspapers takes for nouns or verbs.
ADJECTIVES = _set(
    "furry fluffy skinny curly wavy shaggy fuzzy hairy bearded barefoot naked nude bald chubby plump muscular slim "
    "slender petite busty baby teen sexy cute goofy silly grumpy spooky creepy eerie gloomy moody cozy cosy messy "
    "dirty rusty dusty muddy mossy snowy rainy foggy misty cloudy sunny stormy icy fiery smoky shiny glossy glassy "
    "matte metallic wooden woolen leathery scaly slimy spiky pointy round oval square rectangular triangular circular "
    "spherical mini tiny giant huge gigantic colossal massive enormous microscopic sheer transparent translucent "
    "opaque shimmering sparkling glowing glittering iridescent holographic bioluminescent neon backlit lit sunlit "
    "moonlit illuminated futuristic medieval ancient old young elderly teenage adult vintage retro gothic goth emo "
    "punk cyberpunk steampunk dieselpunk solarpunk fantasy sci-fi scifi alien undead cybernetic robotic mechanical "
    "bionic humanoid anthro anthropomorphic mythical magical enchanted haunted cursed holy demonic angelic satanic "
    "evil wicked happy sad angry smiling crying laughing blushing grinning winged horned hooded cloaked armored "
    "armoured masked tattooed freckled pale tanned dark-skinned plus-size thicc chibi kawaii asian african european "
    "american japanese chinese korean indian russian french german italian spanish mexican british irish scottish "
    "arab egyptian greek roman viking nordic oriental tropical female male overweight athletic elegant ornate "
    "intricate floral striped spotted checkered plaid patterned polka-dot embroidered knitted crocheted"
)
# Nouns that only tell how much there is, or in what form, of the noun after "of".
MEASURES = _set(
    "group kind type sort lot lots couple pair bunch number piece pieces set row rows pile heap stack variety slice "
    "slices color colour colors colours version series swarm flock herd pack crowd array collection hundreds "
    "thousands millions dozens dozen handful load loads ton tons form part parts portion bit range species style "
    "styles depiction view views close-up closeup sense kinds types sorts assortment selection cluster middle centre "
    "center edge top bottom front back side inside outside interior pov picture image full"
)
PLACES = _set(
    "left right top bottom front back side sides background foreground middle center centre corner edge distance rear "
    "end inside outside below above viewer camera"
)
# Adverbs and adjectives that say nothing one could paint, or only where something is.
NO_ATTRIBUTE = _set(
    "next near left right other same such many several some few more most own close far various different another "
    "colored coloured seen able sure so very too top front back middle only upper lower one possible specific certain "
    "including whole entire main overall following similar general usual common particular much less least best "
    "better first second third last new"
)
# Nouns of time, measure, mind, speech and form: nothing that a picture could show in one place.
ABSTRACT = _set(
    "color colour colors colours way ways kind type sort time times year years month months week weeks weekend day "
    "days night nights morning evening afternoon noon midnight dawn dusk today tomorrow season summer winter spring "
    "autumn fall hour hours minute minutes second seconds century decade era age ages period past present future "
    "moment moments history something nothing thing things someone anyone everything everyone anything nobody "
    "somebody lot one ones size sizes shape shapes look looks length width height weight amount degree level levels "
    "rate range scale ratio resolution focus depth blur vibe vibes mood moods atmosphere ambiance ambience weather "
    "tone tones theme themes feeling feelings feel emotion emotions love hate fear hope joy anger sorrow pain "
    "pleasure peace war beauty grace charm power strength energy force magic luck fate destiny death birth life soul "
    "mind thought thoughts idea ideas concept concepts dream dreams memory memories imagination creativity fantasy "
    "reality truth lie secret mystery story stories tale legend legends myth lore adventure journey quest mission "
    "task job work works business trade economy money cost price value effort result results effect effects cause "
    "reason purpose goal aim use usage need wish want desire demand request order command rule rules law laws right "
    "rights policy plan plans project projects process progress practice method methods system systems approach "
    "strategy technique technology science math mathematics physics chemistry biology medicine health culture "
    "religion faith belief politics society community humanity evil good dance music song sound noise voice silence "
    "word words text name names title titles language sentence phrase message messages question answer problem "
    "solution issue matter case example instance detail details element elements aspect aspects part parts piece "
    "pieces half quarter rest bit context content point points sense senses taste smell touch sight vision view views "
    "angle angles perspective perspectives viewpoint position positions direction directions distance place places "
    "location area areas region zone spot pose poses posture gesture gestures action actions act acts activity "
    "activities movement movements motion event events ceremony occasion competition match game games sport fun play "
    "party-time break trip travel attack attacks battle fight fights conflict struggle victory defeat success failure "
    "chance risk danger threat safety trust honor honour glory fame pride shame guilt respect freedom liberty justice "
    "equality wisdom knowledge skill skills talent ability abilities experience habit custom tradition traditions "
    "fashion trend trends aesthetic symmetry balance harmony contrast complexity simplicity perfection accuracy "
    "clarity intensity speed acceleration gravity heat cold warmth temperature pressure darkness brightness shade "
    "influence inspiration reference references expression expressions impression appearance existence presence "
    "absence anatomy deformation deformity proportion proportions composition arrangement structure structures layout "
    "format version versions edition variation variations mix mixture blend combination middle centre center genre "
    "category class quality qualities standard standards feature features characteristic vacation holiday holidays "
    "lifestyle meaning symbol symbols resistance rebellion revolution activism end ends start beginning finish "
    "attention care help support thank thanks please front rear side sides accident crime murder sex porn nsfw sfw "
    "palette opacity lack percent number numbers total average maximum minimum count quantity data info information "
    "stuff imagery environment environments setting settings application applications app apps software website "
    "websites internet company brand industry market marketing management education research analysis development "
    "training treatment prevention service services security presentation campaign crisis condition conditions "
    "situation circumstance circumstances disease diseases illness complexion personality role gender race identity "
    "career profession childhood youth marriage relationship friendship romance passion lust ecstasy madness chaos "
    "infinity eternity world nature universe soccer tennis golf hockey volleyball cricket rugby swimming skiing "
    "skating surfing yoga gymnastics photography cooking gardening shopping economics psychology philosophy "
    "literature poetry grammar vocabulary statistics trouble confusion stress behaviour behavior attitude manner "
    "opportunity responsibility possibility advantage benefit benefits overlay bounds limit limits hyper ultra mega "
    "extra minimal vertical horizontal"
)
# The nouns that WordNet counts among acts, states, times and the like; training/abstract_nouns.py says how.
# Those it takes for qualities or deeds although one can paint them are put back.
_DRAWN = _set(
    "background electronics scar scars wound wounds halo halos baseball blot tracing wedding parade fight shadow yellow"
)
ABSTRACT |= _set(resources.files(__package__).joinpath("abstract_nouns.txt").read_text(encoding="utf-8"))
ABSTRACT -= _DRAWN
# Endings of nouns for states, acts and doctrines; and the nouns with these endings that one can see.
ABSTRACT_ENDINGS = ("ness", "ism", "ity", "tion", "sion", "ment", "ance", "ence", "ology", "osophy")
CONCRETE = _set(
    "city deity celebrity university witness lioness station constellation carnation plantation vegetation decoration "
    "decorations potion lotion explosion explosions reflection reflections fortification installation mansion "
    "television monument apartment garment ornament instrument instruments basement pavement cement battlement "
    "equipment parchment compartment document fragment tournament fence ambulance audience residence appliance "
    "entrance organism cemetery creation crustacean medicament filament fortress facility sediment lance"
)
# About the picture itself wherever they stand: its medium, make, quality, light and camera.
QUALITY = _set(
    "realistic photorealistic photoreal hyperrealistic hyper-realistic photo-realistic ultra-realistic ultrarealistic "
    "realism photorealism hyperrealism lifelike detailed ultra-detailed ultradetailed hyperdetailed hyper-detailed "
    "high-detail highly-detailed hyper ultra hd uhd hdr fhd qhd 4k 8k 16k 2k 12k 1080p 720p cinematic masterpiece "
    "masterful artstation deviantart pixiv cgsociety behance pinterest resolution high-quality best-quality "
    "high-resolution highres hi-res award award-winning winning trending epic dramatic volumetric sharp crisp highly "
    "extremely insanely beautifully stylized stylised professional raytracing raytraced ray-traced rtx vray v-ray "
    "unreal octane unity blender c4d zbrush maya redshift arnold photoshop lightroom midjourney nanite lumen f/1.8 "
    "f/2.8 iso 35mm 50mm 85mm 24mm 100mm 16mm bokeh grainy monochrome b&w dof hdri exquisite perfect centered "
    "symmetrical post-processing rendered photographed photographic high-contrast low-contrast low-angle wide-angle "
    "ultra-wide full-body upper-body half-body photogenic aesthetic artistic insane intricately megapixel "
    "high-definition superdetailed super-detailed supersharp well-lit backlighting"
)
# A medium, look or genre; before a thing it describes it ("a cartoon skull"), alone it is about the picture.
MEDIA = _set(
    "3d 2d 3-d watercolor watercolour oil acrylic gouache pastel charcoal pencil ink pen-and-ink cartoon anime manga "
    "comic comics pixelart pixel isometric vector minimalist minimalistic minimalism maximalist surreal surrealism "
    "surrealist surrealistic impressionism impressionist expressionism expressionist abstract retro vintage vaporwave "
    "synthwave retrowave retrofuturism cyberpunk steampunk dieselpunk solarpunk fantasy scifi sci-fi gothic baroque "
    "rococo renaissance modernism cubism cubist pointillism bauhaus ukiyo-e noir film-noir lowpoly low-poly "
    "papercraft origami claymation stop-motion digital graphic conceptual concept chibi doodle linocut fauvism "
    "dadaism brutalism realist pop-art deco nouveau art-deco art-nouveau psychedelic lo-fi lofi y2k grunge kawaii "
    "photoshop polaroid daguerreotype autochrome kodachrome kodak fujifilm fuji canon nikon sony leica hasselblad "
    "dslr gopro analog analogue lomography tintype illustrated painted drawn stylistic storybook hand-drawn canvas "
    "stained-glass fine-art line-art dark-fantasy"
)
# A run of nouns and adjectives that ends in one of these is about the picture, whatever else it holds.
STYLE_HEADS = _set(
    "photo photos photograph photographs photography photographer image images picture pictures pic pics painting "
    "paintings drawing drawings draw sketch sketches illustration illustrations illustrator artist artists render "
    "renders rendering renderings renderer portrait portraits poster artwork artworks art arts style styles quality "
    "resolution lighting bokeh watercolor watercolour anime manga comic comics pixelart engine cgi cg masterpiece "
    "artstation deviantart pixiv cgsociety behance wallpaper screenshot screenshots photoshoot photoshooting closeup "
    "close-up closeups realism photorealism surrealism minimalism impressionism expressionism 4k 8k 16k 2k hd uhd hdr "
    "3d 2d still stills shot shots view angle perspective footage kodachrome fujifilm kodak dslr octane movie film "
    "films cover vector collage stencil engraving woodcut lithograph etching ukiyo-e photoshop aesthetic aesthetics "
    "cubism pointillism pov rtx fantasy scifi sci-fi cyberpunk steampunk retro vintage vaporwave synthwave realistic "
    "grain color-grading grading composition chiaroscuro sheet turnaround diorama rendition depiction blender c4d "
    "details detail brushwork brushstrokes strokes linework lineart hour scene scenes cinematography cinema framing "
    "lens aperture exposure contrast saturation symmetry palette palettes tones colors colours imagery frame frames "
    "storyboard concept visual visuals graphics animation cartoon thumbnail album mockup iso raytracing vibe vibes "
    "theme portfolio selfie logo icon sticker architecture vfx gradient magazine snapshot polaroid daguerreotype "
    "autochrome caricature clipart clip-art light lights texture textures filter trending hyperrealism ultra"
)
# Of these, what a picture can also show as a thing, where something describes it or it stands behind a determiner.
DRAWN_STYLE_HEADS = _set(
    "poster cover logo icon sticker album magazine light lights texture textures film frame frames sheet artist "
    "photographer illustrator engine gradient lens camera diorama architecture thumbnail painting paintings drawing "
    "picture pictures portrait"
)
BE = _set("is are was were 's be being been looks look seems appears")
NEGATIONS = _set("no without not never minus n't non except excluding instead than")
# What follows compares: "carrots like apples" shows no apples.
COMPARISONS = _set("like resembling than")
LIGHT_VERBS = _set("painted colored coloured dyed dressed")
# Verbs that act on the noun after them, where a tagger may see a participle that describes it.
TRANSITIVE = _set(
    "wearing holding carrying riding eating drinking using wielding playing having making taking giving watching "
    "reading driving pulling pushing throwing catching kicking hitting chasing hugging kissing touching biting "
    "licking showing featuring including containing covering surrounding facing crossing entering leaving climbing "
    "pouring cooking cutting building fighting killing attacking feeding hunting selling buying opening closing "
    "sporting donning clutching gripping grabbing lifting raising waving depicting representing creating doing "
    "getting looking going being"
)
# "-ing" that names a thing, so that it is no participle after a noun.
ING_NOUNS = _set(
    "building painting drawing ring king wing string thing clothing ceiling lightning earring sibling railing morning "
    "evening wedding swing spring something nothing everything anything lighting rendering being wings rings "
    "paintings buildings sling icing frosting pudding dumpling duckling gosling seedling sapling viking awning "
    "stocking carving engraving etching setting crossing landing opening bling darling ping ding training underling "
    "starling sterling herring bearing mooring scaffolding bedding bunting piping plumbing topping filling dressing "
    "wrapping writing"
)
PEOPLE = _set("man men woman women girl girls boy boys lady ladies guy guys gentleman gentlemen person people")
# Two of these side by side, with no article, are two things: "cat dog". Names of breeds and species are made of others.
ANIMALS = _set(
    "cat cats dog dogs horse horses cow cows pig pigs goat goats chicken chickens rabbit rabbits fox foxes lion lions "
    "elephant elephants monkey monkeys giraffe giraffes zebra zebras kitten kittens puppy puppies parrot parrots penguin "
    "penguins owl owls turtle turtles frog frogs bird birds"
)
# Adjectives that stand for a person where a noun must be: "a blonde in a car".
PERSONAL = _set("female male blonde blond brunette redhead teen teenager")
# A segment of these alone tells the mood of the whole picture.
MOODS = _set(
    "intricate elaborate cozy cosy sensual moody gloomy eerie dark bright colorful colourful vibrant vivid soft warm "
    "cool dramatic dreamy ethereal mystical mysterious elegant clean simple minimal complex dynamic beautiful "
    "gorgeous stunning amazing wonderful breathtaking perfect hot sexy erotic serene peaceful calm chaotic whimsical "
    "playful fun funny nostalgic melancholic romantic atmospheric natural modern contemporary futuristic medieval "
    "ancient creative unique interesting original magnificent majestic powerful lively energetic symmetrical "
    "asymmetrical geometric organic smooth textured seamless glamorous luxurious high low wide outdoor outdoors "
    "indoor indoors close ominous creepy scary spooky horror gritty saturated desaturated luminous radiant bold "
    "dystopian utopian apocalyptic post-apocalyptic explicit uncensored nsfw safe"
)
CRAFT_ENDINGS = (
    "er",
    "ers",
    "or",
    "ors",
    "ist",
    "ists",
    "ess",
    "ian",
    "man",
    "men",
    "woman",
    "women",
    "knight",
    "elf",
    "hero",
    "cop",
)
# What introduces somebody who made the picture, or something it imitates.
CREDITS = _set("by via")
STYLE_VERBS = _set(
    "trending featured shot inspired rendered drawn painted illustrated directed designed photographed influenced"
)
SAYINGS = _set(
    "says say saying said called titled named entitled reading reads read written text word words lettering labeled "
    "labelled caption"
)
# Behind the noun of what they show ("a building portrait"), and behind that whose aspect they are ("eye color").
PICTURES = _set(
    "photo photograph image picture pic painting drawing sketch illustration illustrations render rendering portrait "
    "portraits poster artwork wallpaper screenshot vector logo icon animation emote clipart closeup close-up "
    "watercolor tattoo-design sprite caricature photoshoot diorama cartoon"
)
ASPECTS = _set("color colour colors colours shape style-wise")
