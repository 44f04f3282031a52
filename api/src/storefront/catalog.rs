//! Pages of the catalog: home, category, search and product.

use axum::response::Response;
use http::{HeaderMap, StatusCode, header};

use super::{
    html::{Frame, finish, html},
    money::money,
    pages::{CategoryLink, ListPage, ProductCard, ProductPage, Stock},
    picture,
    public_api::Refusal,
    texts::filled,
    views::{Category, List, Product},
    visit::{Visit, is_id, query},
};
use crate::{input::PathText, routes::entry_points};

/// Products on a page: 24 with their drawings are some 13 KB.
const PRODUCTS_MAX: &str = "24";
/// Characters of a search at most; longer ones are cut.
const SEARCH_CHARS_MAX: usize = 100;

/// The storefront for browsers, the entry points of the API for all others: both are at `/`.
pub(super) async fn home(headers: HeaderMap, visit: Visit) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if !accepts.is_some_and(|accepts| accepts.contains("text/html")) {
        return entry_points().await;
    }
    let title = visit.texts().home;
    finish(&visit, list(&visit, title.to_owned(), "/", &[]).await)
}

pub(super) async fn category(visit: Visit, PathText(slug): PathText) -> Response {
    let answered = async {
        if !is_id(&slug) {
            return Err(Refusal::not_found());
        }
        let known: List<Category> = visit.api.get("/v1/categories").await?;
        if !known.data.iter().any(|category| category.slug == slug) {
            return Err(Refusal::not_found());
        }
        list(&visit, slug.clone(), &format!("/c/{slug}"), &[("category", slug.as_str())]).await
    };
    finish(&visit, answered.await)
}

pub(super) async fn search(visit: Visit) -> Response {
    let sought: String =
        visit.parameter("q").chars().filter(|c| !c.is_control()).take(SEARCH_CHARS_MAX).collect();
    let t = visit.texts();
    let title = if sought.is_empty() { t.search.to_owned() } else { filled(t.results, &sought) };
    finish(&visit, list(&visit, title, "/search", &[("q", sought.as_str())]).await)
}

/// A page of products that a filter of the API finds. `path` is the page's own.
async fn list(
    visit: &Visit,
    title: String,
    path: &str,
    filter: &[(&str, &str)],
) -> Result<Response, Refusal> {
    let after = visit.parameter("after");
    let mut asked = vec![("limit", PRODUCTS_MAX)];
    asked.extend(filter.iter().copied().filter(|(_, value)| !value.is_empty()));
    if is_id(after) {
        asked.push(("starting_after", after));
    }
    let found: List<Product> = visit.api.get(&format!("/v1/products?{}", query(&asked))).await?;
    let categories: List<Category> = visit.api.get("/v1/categories").await?;
    let more = found.data.last().filter(|_| found.has_more).map(|last| {
        let sought = filter.iter().copied().filter(|(name, _)| *name == "q");
        let next: Vec<_> = sought.chain([("after", last.sku.as_str())]).collect();
        format!("{path}?{}", query(&next))
    });
    let link = |Category { slug }: Category| {
        let is_chosen = filter.contains(&("category", slug.as_str()));
        CategoryLink { slug, is_chosen }
    };
    let page = ListPage {
        frame: Frame::new(visit, title),
        categories: categories.data.into_iter().map(link).collect(),
        products: found.data.iter().map(|product| card(visit, product)).collect(),
        more: more.unwrap_or_default(),
    };
    Ok(html(StatusCode::OK, &page))
}

pub(super) async fn product(visit: Visit, PathText(sku): PathText) -> Response {
    let answered = async {
        if !is_id(&sku) {
            return Err(Refusal::not_found());
        }
        let product: Product = visit.api.get(&format!("/v1/products/{sku}")).await?;
        let card = card(&visit, &product);
        let Product { name, description, category, .. } = product;
        let description = description.unwrap_or_default();
        let paragraphs = description.lines().filter(|line| !line.trim().is_empty());
        let page = ProductPage {
            frame: Frame::new(&visit, name),
            paragraphs: paragraphs.map(str::to_owned).collect(),
            category,
            card,
        };
        Ok(html(StatusCode::OK, &page))
    };
    finish(&visit, answered.await)
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
