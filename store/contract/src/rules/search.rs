//! Words by which products are searched, and how a search is carried out.
//!
//! A product has the words of its folded name and sku, and the rest of each word from each letter on, down to
//! three letters. A search finds the products of which each of its words begins one of these: so it finds the
//! second part of a compound, too. Scripts that are written without blanks give no words, so there a product has the
//! rest of the text from each letter on, and a search finds what contains its text.
//!
//! An engine stores the words of a product twice: as rows of an index by word, and in one text to test each further
//! word of a search against. It counts what the longest word alone would find, up to [`CANDIDATES_MAX`]: where that is
//! little, it reads those products and sorts them; else it reads the list in its order, in which matches come densely.
//! Both ways find the same. What is not bounded is a search of several words that are each frequent and seldom found
//! together: it may read all products of a merchant, as every search once did.

use std::collections::BTreeSet;

use super::texts::{folded, is_mark};
use crate::{
    catalog::{
        Category, FACET_CATEGORIES_MAX, FACET_PRODUCTS_MAX, PriceFacet, ProductCursor, ProductFacets,
        ProductFilter, ProductSort,
    },
    domain::{AMOUNT_MINOR_MAX, Currency},
};

/// Products read for the longest word of a search, at most.
pub const CANDIDATES_MAX: i64 = 2_000;
/// Words of a product at most: more than a name of 200 characters and a sku have, unless letters unfold to many.
const WORDS_MAX: usize = 300;
/// Characters that are compared of a word.
const WORD_CHARS_MAX: usize = 32;
/// Shortest rest of a word that is indexed: shorter ones are in most names, and find nothing that is looked for.
const PART_CHARS_MIN: usize = 3;
/// Characters that are compared of a text without blanks.
const RUN_CHARS_MAX: usize = 16;
/// After every sku, which is ASCII, by bytes.
const AFTER_ANY_SKU: &str = "~";

/// Words that a product has, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProductWords(BTreeSet<String>);

/// What to change in the index when a product gets other words.
pub struct WordChanges {
    pub added: Vec<String>,
    pub removed: Vec<String>,
}

impl ProductWords {
    pub fn of(name: &str, sku: &str) -> Self {
        let runs: Vec<Run> = runs(name).into_iter().chain(runs(sku)).collect();
        // Whole words first: what is over the bound are parts.
        let whole =
            runs.iter().filter(|run| !run.has_no_blanks).map(|run| start_of(&run.text, WORD_CHARS_MAX));
        let mut words = BTreeSet::new();
        for word in whole.chain(runs.iter().flat_map(Run::parts)) {
            if words.len() == WORDS_MAX {
                break;
            }
            words.insert(word);
        }
        Self(words)
    }

    /// From the stored text; none from no text.
    pub fn stored(text: Option<&str>) -> Self {
        Self(text.unwrap_or_default().split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect())
    }

    /// The text to store: a blank before each word, and one at the end.
    pub fn text(&self) -> String {
        let mut text: String = self.0.iter().flat_map(|word| [" ", word.as_str()]).collect();
        text.push(' ');
        text
    }

    pub fn changes_from(&self, former: &Self) -> WordChanges {
        WordChanges {
            added: self.0.difference(&former.0).cloned().collect(),
            removed: former.0.difference(&self.0).cloned().collect(),
        }
    }
}

/// Words of a search, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchWords(Vec<String>);

impl SearchWords {
    /// `None` for a text without letters and digits, which finds nothing.
    pub fn of(text: &str) -> Option<Self> {
        let start =
            |run: &Run| start_of(&run.text, if run.has_no_blanks { RUN_CHARS_MAX } else { WORD_CHARS_MAX });
        let words: Vec<String> = runs(text).iter().map(start).collect();
        if words.is_empty() { None } else { Some(Self(words)) }
    }

    /// The range of words that the longest one begins: from, included, and to, excluded.
    pub fn longest(&self) -> (String, String) {
        let longest = self.0.iter().max_by_key(|word| word.chars().count());
        let from = longest.map(String::as_str).unwrap_or_default();
        (from.to_owned(), format!("{from}\u{10ffff}"))
    }

    /// LIKE patterns that the text of the product's words has to match, all of them. Words hold no wildcard.
    pub fn patterns(&self) -> Vec<String> {
        self.0.iter().map(|word| format!("% {word}%")).collect()
    }

    /// Whether a product with these words is found.
    pub fn are_in(&self, product: &ProductWords) -> bool {
        self.0.iter().all(|word| product.0.iter().any(|found| found.starts_with(word)))
    }
}

/// What a filter searches for.
pub enum SearchText {
    /// No text is given.
    All,
    /// The text has no letter and no digit.
    Nothing,
    Words(SearchWords),
}

impl SearchText {
    pub fn of(filter: &ProductFilter) -> Self {
        match filter.text.as_deref().map(SearchWords::of) {
            None => Self::All,
            Some(None) => Self::Nothing,
            Some(Some(words)) => Self::Words(words),
        }
    }
}

/// Where an engine reads the products of a list.
pub enum ProductSource {
    /// All of them in the order of the list, each tested for the words.
    InOrder(Option<SearchWords>),
    /// Those that have a word which the longest word of the search begins; the rest of the search is tested.
    ByWord(SearchWords),
}

impl ProductSource {
    /// `candidates`: products with a word that the longest word begins, counted up to [`CANDIDATES_MAX`] and one.
    pub fn of(words: SearchWords, candidates: i64) -> Self {
        if candidates > CANDIDATES_MAX { Self::InOrder(Some(words)) } else { Self::ByWord(words) }
    }

    pub fn words(&self) -> Option<&SearchWords> {
        match self {
            Self::InOrder(words) => words.as_ref(),
            Self::ByWord(words) => Some(words),
        }
    }
}

/// The order that a list has: see [`ProductSort::Price`].
pub fn effective_sort(filter: &ProductFilter, sort: ProductSort) -> ProductSort {
    if filter.price.is_some() { sort } else { ProductSort::Sku }
}

/// The position at which a page begins: the cursor's, but not before the first product with a price in the range.
pub fn begin_of(filter: &ProductFilter, sort: ProductSort, after: Option<ProductCursor>) -> ProductCursor {
    let (min, max) = filter.price.map_or((0, AMOUNT_MINOR_MAX), |price| (price.min_minor, price.max_minor));
    let begin = |price_minor, sku: &str| ProductCursor { price_minor, sku: sku.to_owned() };
    let is_inside = |after: &ProductCursor| match sort {
        ProductSort::Sku => true,
        ProductSort::Price => after.price_minor >= min,
        ProductSort::PriceDescending => after.price_minor <= max,
    };
    match (after.filter(is_inside), sort) {
        // A list that is in the order of skus after all may have been asked for with the price of its last product.
        (Some(after), ProductSort::Sku) => begin(0, &after.sku),
        (Some(after), ProductSort::Price | ProductSort::PriceDescending) => after,
        (None, ProductSort::Sku) => begin(0, ""),
        (None, ProductSort::Price) => begin(min.saturating_sub(1), AFTER_ANY_SKU),
        (None, ProductSort::PriceDescending) => begin(max.saturating_add(1), ""),
    }
}

/// Products of one category and currency.
pub struct FacetGroup {
    pub category: String,
    pub currency: Currency,
    pub products: u64,
    pub in_stock: u64,
    pub lowest_minor: i64,
    pub highest_minor: i64,
}

/// Facets of groups, which hold one product more than [`FACET_PRODUCTS_MAX`] where more are found.
pub fn facets(groups: Vec<FacetGroup>) -> ProductFacets {
    let mut facets = ProductFacets::default();
    for group in groups {
        facets.products += group.products;
        facets.in_stock += group.in_stock;
        match facets.prices.iter_mut().find(|price| price.currency == group.currency) {
            Some(price) => {
                price.products += group.products;
                price.lowest_minor = price.lowest_minor.min(group.lowest_minor);
                price.highest_minor = price.highest_minor.max(group.highest_minor);
            }
            None => facets.prices.push(PriceFacet {
                currency: group.currency,
                products: group.products,
                lowest_minor: group.lowest_minor,
                highest_minor: group.highest_minor,
            }),
        }
        match facets.categories.iter_mut().find(|category| category.slug == group.category) {
            Some(category) => category.products += group.products,
            None => facets.categories.push(Category { slug: group.category, products: group.products }),
        }
    }
    facets.prices.sort_by(|one, other| one.currency.as_str().cmp(other.currency.as_str()));
    facets
        .categories
        .sort_by(|one, other| other.products.cmp(&one.products).then_with(|| one.slug.cmp(&other.slug)));
    facets.categories.truncate(FACET_CATEGORIES_MAX);
    facets.is_complete = facets.products <= u64::from(FACET_PRODUCTS_MAX);
    facets
}

/// Letters and digits in a row, with their marks, of scripts that have blanks between words or of scripts that do not.
struct Run {
    text: String,
    has_no_blanks: bool,
}

fn runs(text: &str) -> Vec<Run> {
    let mut runs = Vec::<Run>::new();
    let mut goes_on = false;
    for character in folded(text).chars() {
        let is_mark = is_mark(character);
        if !(character.is_alphanumeric() || (is_mark && goes_on)) {
            goes_on = false;
            continue;
        }
        let has_no_blanks = has_no_blanks(character);
        let joins = |run: &&mut Run| goes_on && (is_mark || run.has_no_blanks == has_no_blanks);
        match runs.last_mut().filter(joins) {
            Some(run) => run.text.push(character),
            None => runs.push(Run { text: character.to_string(), has_no_blanks }),
        }
        goes_on = true;
    }
    runs
}

/// Thai, Lao, Myanmar, Khmer, kana and Han.
fn has_no_blanks(character: char) -> bool {
    matches!(
        character,
        '\u{e00}'..='\u{eff}'
            | '\u{1000}'..='\u{109f}'
            | '\u{1780}'..='\u{17ff}'
            | '\u{3005}'..='\u{3007}'
            | '\u{3040}'..='\u{30ff}'
            | '\u{31f0}'..='\u{31ff}'
            | '\u{3400}'..='\u{4dbf}'
            | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{3ffff}'
    )
}

impl Run {
    /// The rest of the text from each letter on.
    fn parts(&self) -> impl Iterator<Item = String> {
        let (least, most) =
            if self.has_no_blanks { (1, RUN_CHARS_MAX) } else { (PART_CHARS_MIN, WORD_CHARS_MAX) };
        let starts = self.text.char_indices().filter(|(_, character)| !is_mark(*character));
        let rests = starts.map(|(at, _)| &self.text[at..]);
        rests.filter(move |rest| rest.chars().count() >= least).map(move |rest| start_of(rest, most))
    }
}

fn start_of(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(text: &str, name: &str, sku: &str) -> bool {
        let words = ProductWords::of(name, sku);
        assert_eq!(ProductWords::stored(Some(&words.text())), words, "reads back");
        let Some(search) = SearchWords::of(text) else { return false };
        let found = search.are_in(&words);
        let text = words.text();
        let by_pattern = search.patterns().iter().all(|pattern| text.contains(pattern.trim_matches('%')));
        let (from, to) = search.longest();
        let by_range = words.0.range(from..to).next().is_some();
        assert_eq!((found, found && by_range), (by_pattern, found), "{search:?} in {words:?}");
        found
    }

    #[test]
    fn each_word_of_a_search_is_found_in_a_word_of_the_product() {
        for (text, name, sku, expected) in [
            ("blue mu", "Mug, blue", "m-1", true),
            ("m-1", "Mug, blue", "m-1", true),
            ("blue red", "Mug, blue", "m-1", false),
            ("ug", "Mug, blue", "m-1", false),
            ("lue", "Mug, blue", "m-1", true),
            ("topf blu", "Blumentopf", "c", true),
            ("pinata", "Pi\u{f1}ata", "c", true),
            ("\u{8336}\u{7897}", "\u{9752}\u{3044}\u{8336}\u{7897}", "c", true),
            ("\u{7897}", "iPhone\u{8336}\u{7897}", "c", true),
            ("iphone\u{8336}", "iPhone\u{8336}\u{7897}", "c", true),
            ("\u{7897}\u{8336}", "\u{8336}\u{7897}", "c", false),
            ("%", "100% clay", "c", false),
        ] {
            assert_eq!(finds(text, name, sku), expected, "{text} in {name}, {sku}");
        }
    }

    #[test]
    fn words_are_bounded() {
        let words = ProductWords::of(&"\u{fdfa} ".repeat(200), &"x".repeat(64));
        assert!(
            words.0.len() <= WORDS_MAX && words.0.iter().all(|word| word.chars().count() <= WORD_CHARS_MAX)
        );
        assert!(finds(&"x".repeat(64), "", &"x".repeat(64)));
        let long = "\u{8336}\u{7897}".repeat(50);
        assert!(finds(&long, &long, "c"));
    }

    #[test]
    fn changes_are_the_difference() {
        let changes = ProductWords::of("red mug", "m").changes_from(&ProductWords::of("blue mug", "m"));
        assert_eq!(
            (changes.added, changes.removed),
            (vec!["red".to_owned()], vec!["blue".to_owned(), "lue".to_owned()])
        );
    }
}
