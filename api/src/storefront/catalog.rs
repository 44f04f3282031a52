//! Pages of the catalog: home, category, search and product.

use axum::{extract::State, response::Response};
use http::{HeaderMap, header};

use super::{
    catalog_page::CatalogPage,
    html::{Frame, VARY, finish},
    money::money,
    pages::{CategoryLink, ListPage, ProductCard, ProductPage, Stock},
    picture,
    public_api::{Answer, Refusal},
    texts::filled,
    views::{Category, List, Product},
    visit::{Visit, is_id, query},
};
use crate::{
    input::PathText,
    page_cache::{CacheGroup, PageClass},
    routes::entry_points,
    state::ApiState,
};

/// Products on a page: 24 with their drawings are some 13 KB.
const PRODUCTS_MAX: &str = "24";
/// Characters of a search at most; longer ones are cut.
const SEARCH_CHARS_MAX: usize = 100;
/// Parameters of these pages: the last product of the page before, and what is searched for.
const AFTER: &str = "after";
const SOUGHT: &str = "q";
/// Parameter of the API that names a category.
const CATEGORY: &str = "category";
/// Fields of a request that the answer at `/` depends on: programs get the entry points of the API there.
const VARY_AT_HOME: &str = "accept, accept-language, cookie";

/// The storefront for browsers, the entry points of the API for all others: both are at `/`.
pub(super) async fn home(State(state): State<ApiState>, headers: HeaderMap, visit: Visit) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if !accepts.is_some_and(|accepts| accepts.contains("text/html")) {
        return entry_points().await;
    }
    let after = after(&visit);
    let visit = visit.at("/", &[(AFTER, after.as_str())]);
    let page = CatalogPage { vary: VARY_AT_HOME, ..list_page(&state, &headers, &visit) };
    finish(&visit, list(page, visit.texts().home.to_owned(), None).await)
}

pub(super) async fn category(
    State(state): State<ApiState>,
    headers: HeaderMap,
    visit: Visit,
    PathText(slug): PathText,
) -> Response {
    if !is_id(&slug) {
        return finish(&visit, Err(Refusal::not_found()));
    }
    let after = after(&visit);
    let visit = visit.at(&format!("/c/{slug}"), &[(AFTER, after.as_str())]);
    let page = list_page(&state, &headers, &visit);
    finish(&visit, list(page, slug.clone(), Some((CATEGORY, slug.as_str()))).await)
}

pub(super) async fn search(State(state): State<ApiState>, headers: HeaderMap, visit: Visit) -> Response {
    let sought: String =
        visit.parameter(SOUGHT).chars().filter(|c| !c.is_control()).take(SEARCH_CHARS_MAX).collect();
    let after = after(&visit);
    let visit = visit.at("/search", &[(SOUGHT, sought.as_str()), (AFTER, after.as_str())]);
    let t = visit.texts();
    let page = list_page(&state, &headers, &visit);
    let answered = if sought.is_empty() {
        list(page, t.search.to_owned(), None).await
    } else {
        let page = CatalogPage { class: PageClass::Search, ..page };
        list(page, filled(t.results, &sought), Some((SOUGHT, sought.as_str()))).await
    };
    finish(&visit, answered)
}

/// The last product of the page before; empty where none is named.
fn after(visit: &Visit) -> String {
    let after = visit.parameter(AFTER);
    if is_id(after) { after.to_owned() } else { String::new() }
}

fn list_page<'a>(state: &'a ApiState, headers: &'a HeaderMap, visit: &'a Visit) -> CatalogPage<'a> {
    CatalogPage { state, visit, headers, class: PageClass::List, vary: VARY, groups: &[CacheGroup::Lists] }
}

/// A page of products that a filter of the API finds.
async fn list(
    page: CatalogPage<'_>,
    title: String,
    filter: Option<(&str, &str)>,
) -> Result<Response, Refusal> {
    let visit = page.visit;
    let mut asked = vec![("limit", PRODUCTS_MAX)];
    asked.extend(filter);
    let after = visit.parameter(AFTER);
    if !after.is_empty() {
        asked.push(("starting_after", after));
    }
    let answered = list_answers(visit, &asked).await;
    page.show(answered, |[found, categories]| {
        list_content(visit, title, filter, found.read()?, categories.read()?)
    })
    .await
}

async fn list_answers(visit: &Visit, asked: &[(&str, &str)]) -> Result<[Answer; 2], Refusal> {
    let found = visit.api.ask(&format!("/v1/products?{}", query(asked))).await?;
    Ok([found, visit.api.ask("/v1/categories").await?])
}

fn list_content(
    visit: &Visit,
    title: String,
    filter: Option<(&str, &str)>,
    found: List<Product>,
    categories: List<Category>,
) -> Result<ListPage, Refusal> {
    let chosen = filter.filter(|(name, _)| *name == CATEGORY).map(|(_, slug)| slug);
    if chosen.is_some_and(|slug| !categories.data.iter().any(|category| category.slug == slug)) {
        return Err(Refusal::not_found());
    }
    let more = found.data.last().filter(|_| found.has_more).map(|last| {
        let sought = filter.filter(|(name, _)| *name == SOUGHT);
        let next: Vec<_> = sought.into_iter().chain([(AFTER, last.sku.as_str())]).collect();
        format!("{}?{}", visit.path, query(&next))
    });
    let link = |Category { slug }: Category| {
        let is_chosen = chosen == Some(slug.as_str());
        CategoryLink { slug, is_chosen }
    };
    Ok(ListPage {
        frame: Frame::new(visit, title),
        categories: categories.data.into_iter().map(link).collect(),
        products: found.data.iter().map(|product| card(visit, product)).collect(),
        more: more.unwrap_or_default(),
    })
}

pub(super) async fn product(
    State(state): State<ApiState>,
    headers: HeaderMap,
    visit: Visit,
    PathText(sku): PathText,
) -> Response {
    if !is_id(&sku) {
        return finish(&visit, Err(Refusal::not_found()));
    }
    let visit = visit.at(&format!("/p/{sku}"), &[]);
    let page = CatalogPage {
        class: PageClass::Product,
        groups: &[CacheGroup::Product(&sku)],
        ..list_page(&state, &headers, &visit)
    };
    let answered = visit.api.ask(&format!("/v1/products/{sku}")).await.map(|answer| [answer]);
    finish(&visit, page.show(answered, |[answer]| product_content(&visit, answer)).await)
}

fn product_content(visit: &Visit, answer: Answer) -> Result<ProductPage, Refusal> {
    let product: Product = answer.read()?;
    let card = card(visit, &product);
    let Product { name, description, category, .. } = product;
    let description = description.unwrap_or_default();
    let paragraphs = description.lines().filter(|line| !line.trim().is_empty());
    Ok(ProductPage {
        frame: Frame::new(visit, name),
        paragraphs: paragraphs.map(str::to_owned).collect(),
        category,
        card,
    })
}

fn card(visit: &Visit, product: &Product) -> ProductCard {
    let t = visit.texts();
    ProductCard {
        sku: product.sku.clone(),
        name: product.name.clone(),
        price: money(product.price_minor, &product.currency, visit.language),
        picture: picture::of(&product.sku),
        stock: Stock::new(product.available, t),
    }
}
