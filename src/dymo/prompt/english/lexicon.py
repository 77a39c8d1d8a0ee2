"""The words whose class the reading of a prompt depends on: words of style, of camera, of place, and what cannot be drawn.

General English and the jargon of prompts; no names of artists, franchises or sentences. Kinds of nouns come from WordNet,
in nouns.txt; training/nouns.py says how.
"""

from __future__ import annotations

from importlib import resources


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_NOUNS = {
    section.split("]")[0]: _set(section.split("]")[1])
    for section in resources.files(__package__).joinpath("nouns.txt").read_text(encoding="utf-8").split("[")[1:]
}


# What other senses of theirs outweigh in WordNet.
_NOUNS["worn"] |= _set(
    "crown cape hood belt mask ribbon bow collar suit dress coat skirt socks shoe boot hat top watch"
)
_NOUNS["person"] |= _set(
    "queen king hero model elf witch wizard knight star boy girl man woman child baby people fairy ninja"
)


def is_kind(noun: str, kind: str) -> bool:
    """Whether a noun in lower case, or what it is the plural of, is of a kind of nouns.txt: "person", "body", "worn", ..."""
    words = _NOUNS[kind]
    singles = [noun]
    if noun.endswith("s") and not noun.endswith("ss"):
        singles += [noun[:-1], noun.removesuffix("es"), noun.removesuffix("ies") + "y", noun.removesuffix("ves") + "f"]
    elif noun.endswith("men"):
        singles.append(noun.removesuffix("men") + "man")
    return not words.isdisjoint(singles)


def is_compound(first: str, second: str) -> bool:
    """Whether two nouns in lower case name a thing together although the second alone names none: "traffic light"."""
    return any(f"{first}_{form}" in _NOUNS["compound"] for form in {second, second.removesuffix("s")})


COLOURS = _set(
    "red orange yellow green blue purple white black brown grey gray pink cyan magenta turquoise teal violet indigo "
    "beige maroon crimson scarlet navy lavender lilac olive ivory amber golden silver gold tan bronze burgundy azure "
    "blonde blond ginger brunette chestnut coral cream emerald fuchsia jade khaki mauve mint mustard ochre peach rust "
    "salmon sapphire sepia taupe vermilion aqua"
)
# Adjectives that a tagger brought up on newspapers takes for nouns or verbs.
ADJECTIVES = _set(
    "furry fluffy skinny curly wavy shaggy fuzzy hairy bearded barefoot naked nude bald chubby plump muscular slim "
    "pretty slender petite busty baby teen sexy cute goofy silly grumpy spooky creepy eerie gloomy moody cozy cosy messy "
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
# In a phrase of place before "of", and what such a phrase begins with.
SIDES = _set(
    "left right top bottom front back side sides edge middle center centre rear end corner foot hand lefthand righthand"
)
PLACING = _set("to on at by in from")
# How something stands somewhere.
STANCES = _set(
    "sitting standing lying placed located positioned situated resting hanging floating parked seated perched leaning "
    "laying hovering"
)
# Adverbs and adjectives that say nothing one could paint, or only where something is.
NO_ATTRIBUTE = _set(
    "next near left right other same such many several some few more most own close far various different another "
    "colored coloured seen able sure so very too top front back middle only upper lower one possible specific certain "
    "including whole entire main overall following similar general usual common particular much less least best "
    "better first second third last new"
)
# Nouns of measure, mind, speech and form that nouns.txt does not have: nothing that an image could show in one place.
ABSTRACT = _set(
    "accident act ambiance ambience amount anatomy angle answer anyone anything app appearance application area "
    "arrangement atmosphere beginning benefit birth bit blend bounds brand break business campaign case category "
    "cause center centre ceremony chance charm class colour combination command community company competition "
    "complexion composition content context cost cricket crisis culture dance darkness data death defeat deformation "
    "degree demand destiny detail direction distance economy edition effect element end energy event everyone "
    "everything experience expression extra failure faith fall fantasy fate feature feeling force format front fun "
    "gender genre gesture gravity harmony heat history honor honour hyper industry info information inspiration "
    "instance internet knowledge language law legend lie literature location lot luck management market marriage "
    "match meaning medicine mega message middle minimal mission mix mixture money motion movement music myth name "
    "nature need nobody noise nsfw occasion opacity order overlay palette part party-time phrase piece place play "
    "please poetry point policy position power presence present presentation pressure problem profession quantity "
    "quarter question race range rate rear reason reference region request resistance resolution result revolution "
    "right rule safety secret security sense sentence setting sex sfw shade shape side sight society software "
    "solution somebody someone something song soul sound spot spring standard start stories story stress structure "
    "stuff success symbol symmetry system tale talent text thank theme thing threat time title tone total touch "
    "travel trend trouble trust truth ultra universe variation version vertical victory view vocabulary voice "
    "volleyball want weather website weight wish word work world youth zone"
)
# Endings of nouns for states and doctrines.
ABSTRACT_ENDINGS = ("ness", "ism", "ology", "osophy")
CONCRETE = _set("witness harness wilderness organism prism")
ABSTRACT |= _set("solo score rating source smile smirk grin frown blush look")


def is_abstract(noun: str) -> bool:
    """Whether a noun in lower case names nothing that an image could show in one place."""
    if noun in ABSTRACT or noun.removesuffix("s") in ABSTRACT or is_kind(noun, "abstract") or is_kind(noun, "either"):
        return True
    single = noun.removesuffix("s") if not noun.endswith("ss") else noun
    return len(single) > 5 and single.endswith(ABSTRACT_ENDINGS) and single not in CONCRETE


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
# Of these, what an image can also show as a thing among others.
DRAWN_STYLE_HEADS = _set(
    "photo photos photograph photographs image picture pictures painting paintings drawing drawings sketch illustration "
    "portrait portraits poster artwork canvas pencil ink charcoal pastel comic manga book magazine album cover logo icon "
    "sticker light lights film frame frames sheet camera lens engine engraving wallpaper collage stencil polaroid palette "
    "texture textures architecture diorama artist photographer illustrator gradient thumbnail origami doodle filter"
)
# Before what an image is asked to be, and after it before what it shows.
MAKING = _set("create make draw paint generate design render imagine show")
SHOWING = _set("depicting depicts showing shows featuring features capturing illustrating portraying representing")
BE = _set("is are was were 's be being been looks look seems appears")
NEGATIONS = _set("no without not never minus n't non except excluding instead than neither nor")
# What a bare "of" after a thing says that it is made of.
MATERIALS = _set(
    "wood glass gold silver bronze copper iron steel metal brass tin stone marble granite clay ceramic porcelain paper "
    "cardboard leather silk wool cotton velvet denim lace fur felt plastic rubber ice snow crystal jade ivory wax concrete "
    "brick bamboo straw rope yarn chocolate gingerbread candy sand mud fire smoke light lego diamond diamonds obsidian "
    "feathers bones flowers leaves vines scales stained-glass"
)
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
SAYINGS = _set("says say saying reads reading read labeled labelled titled named called word words text phrase letters")
# What bears such a text.
BEARERS = _set(
    "sign signs billboard banner poster t-shirt shirt sticker label board blackboard chalkboard whiteboard screen card note "
    "logo book cover paper neon placard bubble caption tag mug window plaque flag newspaper letter"
)
# Behind the noun of what they show ("a building portrait"), and behind that whose aspect they are ("eye color").
PICTURES = _set(
    "photo photograph image picture pic painting drawing sketch illustration illustrations render rendering portrait "
    "portraits poster artwork wallpaper screenshot vector logo icon animation emote clipart closeup close-up "
    "watercolor tattoo-design sprite caricature photoshoot diorama cartoon"
)
ASPECTS = _set("color colour colors colours shape style-wise")
