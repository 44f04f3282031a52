//! Each table of a page as CSV, by its name and from page to page.

use std::time::Duration;

use base::time::later;
use console::access::Role;
use http::StatusCode;
use jobs::{Envelope, envelope::EnqueueOptions};

use crate::util::{Deployment, Mail};

/// Jobs on a page of the list.
const JOBS_SHOWN: usize = 50;

#[tokio::test]
async fn each_table_of_a_page_is_a_csv_by_its_name() {
    let shop = Deployment::open().await;
    let order = format!("/orders/{}", shop.order);
    let pages: [(&str, &[&str]); 6] = [
        ("/", &["queues", "latest"]),
        ("/dead", &["groups", "errors"]),
        ("/workers", &["workers", "lost", "running"]),
        ("/queues/email", &["workers", "last-hour", "running"]),
        (&order, &["timeline", "jobs"]),
        ("/audit", &["audit"]),
    ];
    for (page, tables) in pages {
        let mut links = shop.get(Role::Viewer, page).await.links();
        links.retain(|link| link.contains("format=csv"));
        assert_eq!(links.len(), tables.len(), "{page}: {links:?}");
        assert_eq!(links[0], format!("{page}?format=csv"));
        for (table, link) in tables.iter().zip(&links) {
            let named = format!("{page}?format=csv&table={table}");
            assert!(*link == links[0] || *link == named, "{link}");
            let [by_link, by_name] =
                [shop.get(Role::Viewer, link).await, shop.get(Role::Viewer, &named).await];
            assert_eq!(
                by_link.header("content-disposition"),
                by_name.header("content-disposition"),
                "{link}"
            );
            let file = format!("attachment; filename=\"orderworks-{table}.csv\"");
            assert_eq!(by_name.header("content-disposition"), file, "{named}");
        }
    }
    let errors = shop.get(Role::Viewer, "/dead?format=csv&table=errors").await.body;
    assert!(errors.starts_with("\"Error\",\"Jobs\",\"Last died\"\r\n"), "{errors}");
    assert!(errors.contains("onerror=alert(2)") && errors.lines().count() == 2, "{errors}");
    let unknown = shop.get(Role::Viewer, "/dead?format=csv&table=none").await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST, "{}", unknown.body);
    assert!(unknown.body.contains("use one of groups, errors"), "{}", unknown.body);
}

#[tokio::test]
async fn a_csv_holds_a_page_and_leads_to_the_next_one() {
    let shop = Deployment::open().await;
    let ambient = &shop.parts.ambient;
    let due = later(ambient.now(), Duration::from_hours(1));
    let job = |_| {
        let mail = Mail { text: "one of many".to_owned(), order: None };
        let options = EnqueueOptions { run_at: Some(due), ..EnqueueOptions::default() };
        Envelope::new(&mail, options, ambient).expect("an envelope")
    };
    let jobs: Vec<Envelope> = (0..JOBS_SHOWN).map(job).collect();
    let ids: Vec<String> = jobs.iter().map(|job| job.id.to_string()).collect();
    shop.parts.engine.publish(jobs).await.expect("publishes");
    let first = shop.get(Role::Viewer, "/jobs?format=csv").await;
    assert_eq!(first.body.lines().count(), 1 + JOBS_SHOWN, "{}", first.body);
    let link = first.header("link");
    let next = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\"")).expect("a link");
    let second = shop.get(Role::Viewer, next).await;
    assert!(second.header("content-type").starts_with("text/csv"), "{next}: {second:?}");
    // Those of the deployment are the older ones.
    assert_eq!(second.body.lines().count(), 1 + 3, "{next}: {}", second.body);
    assert_eq!(second.header("link"), "", "it is the last one");
    for id in ids {
        assert!(first.body.contains(&id) != second.body.contains(&id), "{id} is on one page");
    }
}
