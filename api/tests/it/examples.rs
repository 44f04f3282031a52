//! Examples of the OpenAPI document: each is valid, and the requests do what the answers say.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Map, Value};
use store::{checkout::CheckoutSettings, merchants::Merchants};

use crate::{
    customers::mailed,
    orders::pay,
    util::{Call, TestApi},
};

/// Every operation with the status of its answer, in an order in which each finds what it needs.
const STORY: [(&str, u16); 55] = [
    ("index", 200),
    ("document", 200),
    ("live", 200),
    ("ready", 200),
    ("put_product", 201),
    ("put_inventory", 200),
    ("put_product", 200),
    ("get_product", 200),
    ("list_products", 200),
    ("list_categories", 200),
    ("get_facets", 200),
    ("get_inventory", 200),
    ("create_endpoint", 201),
    ("get_endpoint", 200),
    ("list_endpoints", 200),
    ("rotate_secret", 200),
    ("get_waiting_room", 200),
    ("place_order", 202),
    ("get_order", 200),
    ("list_orders", 200),
    ("get_timeline", 200),
    ("stream_events", 200),
    ("list_events", 200),
    ("resend_event", 202),
    ("change_endpoint", 200),
    ("delete_endpoint", 204),
    ("list_payments", 200),
    ("refund_order", 202),
    ("create_cart", 201),
    ("put_item", 200),
    ("get_cart", 200),
    ("quote_cart", 200),
    ("reserve_cart", 200),
    ("release_cart", 200),
    ("checkout", 202),
    ("cancel_order", 200),
    ("revoke_token", 204),
    ("register", 202),
    ("verify", 201),
    ("request", 202),
    ("confirm", 204),
    ("sign_in", 201),
    ("current", 200),
    ("create_cart", 201),
    ("open_cart", 200),
    ("export", 200),
    ("list_orders_of_customer", 200),
    ("list", 200),
    ("end", 204),
    ("sign_in", 201),
    ("sign_out", 204),
    ("sign_in", 201),
    ("end_all", 204),
    ("sign_in", 201),
    ("delete", 204),
];
/// What begins the ids and tokens that an answer gives to later requests.
const LEARNT: [&str; 7] = ["cart_", "evt_", "ord_", "owt_", "ows_", "ses_", "whe_"];

/// The document, and what an example stands for in this run.
struct ExampleReader {
    document: Value,
    real: BTreeMap<String, String>,
}

struct ExampleOperation {
    method: Method,
    path: String,
    described: Value,
}

impl ExampleReader {
    fn open() -> Self {
        let document = serde_json::to_value(api::openapi()).expect("JSON");
        Self { document, real: BTreeMap::new() }
    }

    fn operations(&self) -> Vec<ExampleOperation> {
        let mut operations = Vec::new();
        for (path, item) in self.document["paths"].as_object().expect("paths") {
            for (method, described) in item.as_object().expect("operations") {
                let (method, path) = (method.to_uppercase().parse().expect("a method"), path.clone());
                operations.push(ExampleOperation { method, path, described: described.clone() });
            }
        }
        operations
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(name) => self.document.pointer(name.trim_start_matches('#')).expect("is there"),
            None => value,
        }
    }

    /// What the schema does not allow; patterns and formats are left to the routes.
    fn faults(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let schema = self.resolve(schema);
        let mut faults = Vec::new();
        for part in schema["allOf"].as_array().into_iter().flatten() {
            faults.extend(self.faults(part, value, at));
        }
        if let Some(variants) = schema["oneOf"].as_array() {
            let fitting = variants.iter().filter(|variant| self.faults(variant, value, at).is_empty());
            if fitting.count() != 1 {
                faults.push(format!("{at}: not exactly one variant"));
            }
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !types.is_empty() && !types.iter().any(|kind| is_of(kind, value)) {
            faults.push(format!("{at}: no {}", types.join(" or ")));
        }
        if let Some(values) = schema["enum"].as_array()
            && !values.contains(value)
        {
            faults.push(format!("{at}: not one of the values"));
        }
        if let Value::Object(members) = value {
            faults.extend(self.member_faults(schema, members, at));
        }
        for (place, item) in value.as_array().into_iter().flatten().enumerate() {
            faults.extend(self.faults(&schema["items"], item, &format!("{at}/{place}")));
        }
        let size = match value {
            Value::String(text) => ("minLength", "maxLength", i64::try_from(text.chars().count()).ok()),
            Value::Array(items) => ("minItems", "maxItems", i64::try_from(items.len()).ok()),
            other => ("minimum", "maximum", other.as_i64()),
        };
        let (least, most) = (schema[size.0].as_i64(), schema[size.1].as_i64());
        if size.2.is_some_and(|size| {
            least.is_some_and(|least| size < least) || most.is_some_and(|most| size > most)
        }) {
            faults.push(format!("{at}: out of bounds"));
        }
        faults
    }

    fn member_faults(&self, schema: &Value, members: &Map<String, Value>, at: &str) -> Vec<String> {
        let mut faults = Vec::new();
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !members.contains_key(name) {
                faults.push(format!("{at}: {name} is missing"));
            }
        }
        for (name, member) in members {
            match schema["properties"].get(name) {
                Some(described) => faults.extend(self.faults(described, member, &format!("{at}/{name}"))),
                None if schema["additionalProperties"] == false => {
                    faults.push(format!("{at}: {name} is not described"));
                }
                None => {}
            }
        }
        faults
    }

    /// The text with real ids and tokens in place of those of the examples.
    fn filled(&self, text: &str) -> String {
        self.real.iter().fold(text.to_owned(), |text, (example, real)| text.replace(example, real))
    }

    fn learn(&mut self, example: &Value, real: &Value) {
        match (example, real) {
            (Value::Object(example), Value::Object(real)) => {
                for (name, value) in example {
                    if let Some(real) = real.get(name) {
                        self.learn(value, real);
                    }
                }
            }
            (Value::Array(example), Value::Array(real)) => {
                for (example, real) in example.iter().zip(real) {
                    self.learn(example, real);
                }
            }
            (Value::String(example), Value::String(real))
                if LEARNT.iter().any(|prefix| example.starts_with(prefix) && real.starts_with(prefix)) =>
            {
                self.real.insert(example.clone(), real.clone());
            }
            _ => {}
        }
    }

    /// The example of the operation's request as one for this shop.
    fn call(&self, shop: &TestApi, operation: &ExampleOperation) -> Call {
        let ExampleOperation { method, path, described } = operation;
        let (mut path, mut query, mut headers) = (path.clone(), Vec::new(), Vec::new());
        for parameter in described["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().expect("a name");
            let text = match &parameter["example"] {
                Value::Null => continue,
                Value::String(text) => self.filled(text),
                other => other.to_string(),
            };
            match parameter["in"].as_str() {
                Some("path") => path = path.replace(&format!("{{{name}}}"), &text),
                Some("query") => query.push(format!("{name}={text}")),
                _ => headers.push((name, text)),
            }
        }
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let mut call = shop.call(method.clone(), &format!("{path}{query}"));
        call = match &described["security"] {
            Value::Null => call.key(&shop.own.public),
            security if security[0].get("secret_key").is_some() => call.key(&shop.own.secret),
            _ => call,
        };
        for (name, value) in headers {
            call = call.header(name, &value);
        }
        let body = &described["requestBody"]["content"]["application/json"]["example"];
        if body.is_null() { call } else { call.body(self.filled(&body.to_string())) }
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => false,
    }
}

#[test]
fn each_example_is_valid_and_none_is_missing() {
    let reader = ExampleReader::open();
    let shared = reader.document["components"]["responses"].as_object().expect("responses");
    let mut described: Vec<(String, &Value)> =
        shared.iter().map(|(name, response)| (name.clone(), response)).collect();
    let operations = reader.operations();
    for ExampleOperation { method, path, described: operation } in &operations {
        let name = format!("{method} {path}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let example = parameter.get("example");
            assert!(example.is_some() || parameter["required"] == false, "{name}: {}", parameter["name"]);
            let faults = example.map(|example| reader.faults(&parameter["schema"], example, &name));
            assert_eq!(faults.unwrap_or_default(), Vec::<String>::new());
        }
        if operation.get("requestBody").is_some() {
            described.push((name.clone(), &operation["requestBody"]));
        }
        for (status, response) in operation["responses"].as_object().expect("responses") {
            described.push((format!("{name} {status}"), response));
        }
    }
    for (name, message) in described {
        for (media_type, content) in message["content"].as_object().into_iter().flatten() {
            // Of the problems that one operation adds, few say more by an example than their description does.
            let is_needed = media_type != "application/problem+json" || !name.contains(' ');
            let Some(example) = content.get("example") else {
                assert!(!is_needed, "no example: {name}");
                continue;
            };
            assert_eq!(reader.faults(&content["schema"], example, &name), Vec::<String>::new());
            if media_type == "application/problem+json" && name.contains(' ') {
                assert!(name.ends_with(&example["status"].to_string()), "{name}: {example}");
            }
        }
    }
}

#[tokio::test]
async fn the_requests_do_what_the_answers_say() {
    let shop = TestApi::open().await;
    let settings = CheckoutSettings { reserve_minutes: Some(15), ..CheckoutSettings::default() };
    assert!(shop.orders.set_checkout_settings(shop.own.id, &settings).await.expect("sets"));
    let mut reader = ExampleReader::open();
    let operations = reader.operations();
    let name_of =
        |operation: &ExampleOperation| operation.described["operationId"].as_str().expect("an id").to_owned();
    let all: BTreeSet<String> = operations.iter().map(name_of).collect();
    assert_eq!(all, STORY.iter().map(|(name, _)| (*name).to_owned()).collect::<BTreeSet<_>>());
    let mut order = Value::Null;
    for (name, status) in STORY {
        let operation = operations.iter().find(|operation| name_of(operation) == name).expect("is there");
        let request = &operation.described["requestBody"]["content"]["application/json"]["example"];
        if ["verify", "confirm"].contains(&name) {
            let token = mailed(&shop, &shop.own, Duration::ZERO).await.expect("a token");
            let example = request["token"].as_str().expect("a token").to_owned();
            reader.real.insert(example, token.expose().to_owned());
        }
        if name == "refund_order" {
            pay(&shop, &order).await;
        }
        let call = reader.call(&shop, operation);
        if name == "stream_events" {
            assert_eq!(call.open().await.status().as_u16(), status, "{name}");
            continue;
        }
        let answer = call.send().await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text);
        let content = &operation.described["responses"][status.to_string()]["content"]["application/json"];
        assert_eq!(reader.faults(&content["schema"], &answer.json, name), Vec::<String>::new());
        let example = &content["example"];
        let names =
            |value: &Value| value.as_object().map(|members| members.keys().cloned().collect::<Vec<_>>());
        // An example of this document within itself would not end.
        assert!(name == "document" || names(example) == names(&answer.json), "{name}: {}", answer.text);
        reader.learn(example, &answer.json);
        if name == "place_order" {
            order = answer.json.clone();
        }
        let token = answer.header("orderworks-order-token");
        if !token.is_empty() {
            let paths = &reader.document["paths"]["/v1/orders/{id}"]["get"]["parameters"];
            let parameters = paths.as_array().expect("parameters").clone();
            let header = parameters.iter().find(|parameter| parameter["name"] == "Orderworks-Order-Token");
            let example = header.map(|header| header["example"].clone()).expect("an example");
            reader.learn(&example, &Value::from(token));
        }
    }
}
