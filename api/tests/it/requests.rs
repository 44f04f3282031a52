//! Agreement of request bodies with the OpenAPI document: for every field of every request, each documented limit is
//! accepted, and one beyond it is refused with its position. A new request or field is tested without a change here.

use reqwest::Method;
use serde_json::{Value, json};

use crate::util::TestApi;

/// 15 characters that no rule for passwords rejects.
const PASSWORD: &str = "x9!kd;2mQz(r7Lw";

/// A value at a position of the sample body; absent when `None`.
struct Case {
    pointer: String,
    value: Option<Value>,
    is_valid: bool,
}

#[tokio::test]
async fn each_documented_limit_is_accepted_and_one_beyond_is_refused() {
    let shop = TestApi::open().await;
    let document = Document(serde_json::to_value(api::openapi()).expect("JSON"));
    let mut count = 0;
    for (path, item) in document.0["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            if schema.is_null() {
                continue;
            }
            let sample = document.sample(schema);
            let mut cases =
                vec![Case { pointer: String::new(), value: Some(sample.clone()), is_valid: true }];
            document.cases(schema, "", &mut cases);
            for case in &cases {
                count += 1;
                let body = changed(&sample, case);
                let answer = send(&shop, method, path, &body, count).await;
                let expected = format!("{method} {path} {} {:?}", case.pointer, case.value);
                assert!(answer.status != 500 && answer.status != 429, "{expected}: {}", answer.text);
                if case.is_valid {
                    assert_ne!(answer.json["code"], "validation_failed", "{expected}: {}", answer.text);
                } else {
                    let faults = answer.expect_problem(422, "validation_failed").faults();
                    assert_eq!(faults.len(), 1, "{expected}: {faults:?}");
                    assert!(faults[0].starts_with(&format!("{} ", case.pointer)), "{expected}: {faults:?}");
                }
            }
        }
    }
    assert!(count > 300, "{count} cases are too few for all fields");
}

async fn send(shop: &TestApi, method: &str, path: &str, body: &Value, number: usize) -> crate::util::Answer {
    // A product's sku in the body is the one in the path.
    let is_plain =
        |sku: &&str| (1..=64).contains(&sku.len()) && sku.bytes().all(|b| b.is_ascii_alphanumeric());
    let sku = body["sku"].as_str().filter(is_plain).unwrap_or("mug");
    let path = path.replace("{id}", "x").replace("{sku}", sku);
    let method: Method = method.to_uppercase().parse().expect("a method");
    let call = shop.call(method, &path).key(&shop.own.secret);
    call.header("idempotency-key", &number.to_string()).json(body).send().await
}

fn changed(sample: &Value, case: &Case) -> Value {
    let mut body = sample.clone();
    let at = "the sample has all fields";
    match (&case.value, case.pointer.rsplit_once('/')) {
        (Some(value), _) => *body.pointer_mut(&case.pointer).expect(at) = value.clone(),
        (None, Some((parent, name))) => {
            body.pointer_mut(parent).and_then(Value::as_object_mut).expect(at).remove(name).expect(at);
        }
        (None, None) => panic!("the body itself is never absent"),
    }
    body
}

struct Document(Value);

impl Document {
    /// The schema that a reference, or a choice between a reference and `null`, stands for.
    fn resolve<'d>(&'d self, schema: &'d Value) -> &'d Value {
        let schema = schema["oneOf"].get(0).unwrap_or(schema);
        match schema["$ref"].as_str() {
            Some(name) => self.0.pointer(name.trim_start_matches('#')).expect("is there"),
            None => schema,
        }
    }

    /// A valid value, with all fields of objects.
    fn sample(&self, schema: &Value) -> Value {
        let schema = self.resolve(schema);
        match kind(schema) {
            "object" => {
                let fields = schema["properties"].as_object().expect("properties");
                fields.iter().map(|(name, field)| (name.clone(), self.sample(field))).collect()
            }
            "array" => json!([self.sample(&schema["items"])]),
            "integer" => schema["minimum"].clone(),
            "boolean" => json!(true),
            _ => valid_texts(schema).remove(0),
        }
    }

    fn cases(&self, schema: &Value, pointer: &str, cases: &mut Vec<Case>) {
        let schema = self.resolve(schema);
        let mut add = |values: Vec<Value>, is_valid| {
            let case = |value| Case { pointer: pointer.to_owned(), value: Some(value), is_valid };
            cases.extend(values.into_iter().map(case));
        };
        match kind(schema) {
            "object" => {
                add(vec![json!([]), json!("x")], false);
                self.member_cases(schema, pointer, cases);
            }
            "array" => {
                let of =
                    |count: u64| Value::Array((0..count).map(|_| self.sample(&schema["items"])).collect());
                let (min, max) = (number(schema, "minItems"), number(schema, "maxItems"));
                add(vec![of(min), of(max)], true);
                add(vec![of(min - 1), of(max + 1), json!({})], false);
                self.cases(&schema["items"], &format!("{pointer}/0"), cases);
            }
            "integer" => {
                let limit = |name: &str| schema[name].as_i64().expect("a limit");
                let (min, max) = (limit("minimum"), limit("maximum"));
                add(vec![json!(min), json!(max)], true);
                #[expect(clippy::cast_precision_loss, reason = "limits are below 2^53")]
                add(vec![json!(max as f64)], true);
                add(vec![json!(min - 1), json!(max + 1), json!(1.5), json!("1")], false);
            }
            "boolean" => {
                add(vec![json!(false)], true);
                add(vec![json!("true"), json!(0)], false);
            }
            _ => {
                add(valid_texts(schema), true);
                add(invalid_texts(schema), false);
            }
        }
    }

    fn member_cases(&self, schema: &Value, pointer: &str, cases: &mut Vec<Case>) {
        for (name, field) in schema["properties"].as_object().expect("properties") {
            let pointer = format!("{pointer}/{name}");
            let is_required = schema["required"].as_array().is_some_and(|names| names.contains(&json!(name)));
            for value in [None, Some(Value::Null)] {
                cases.push(Case { pointer: pointer.clone(), value, is_valid: !is_required });
            }
            self.cases(field, &pointer, cases);
        }
    }
}

fn kind(schema: &Value) -> &str {
    schema["type"].as_str().or(schema["type"][0].as_str()).expect("a type")
}

fn number(schema: &Value, name: &str) -> u64 {
    schema[name].as_u64().unwrap_or_else(|| panic!("no {name} in {schema}"))
}

/// `length` characters of a text that is repeated.
fn repeat(text: &str, length: u64) -> Value {
    text.chars().cycle().take(usize::try_from(length).expect("fits")).collect::<String>().into()
}

/// Prefix, first character and greatest length of a pattern such as `^pm_[a-z]{1,64}$`.
fn code(schema: &Value) -> Option<(&str, &str, u64)> {
    let (prefix, rest) = schema["pattern"].as_str()?.strip_prefix('^')?.split_once('[')?;
    let (class, length) = rest.strip_suffix("}$")?.split_once("]{1,")?;
    Some((prefix, &class[..1], length.parse().ok()?))
}

/// Texts at the limits of the schema.
fn valid_texts(schema: &Value) -> Vec<Value> {
    if let Some(names) = schema["enum"].as_array() {
        return names.clone();
    }
    if let Some((prefix, letter, max)) = code(schema) {
        return [1, max].map(|length| format!("{prefix}{}", letter.repeat(length as usize)).into()).into();
    }
    match schema["format"].as_str() {
        Some("password") => {
            ["minLength", "maxLength"].map(|name| repeat(PASSWORD, number(schema, name))).into()
        }
        Some("email") => vec![json!("ada@example.com"), address(number(schema, "maxLength"))],
        Some("uri") => {
            let start = "https://shop.example/";
            let rest = number(schema, "maxLength") - start.len() as u64;
            vec![format!("{start}{}", "x".repeat(rest as usize)).into()]
        }
        Some("currency" | "country" | "verification-token") => vec![schema["example"].clone()],
        _ => ["minLength", "maxLength"].map(|name| repeat("x", number(schema, name))).into(),
    }
}

/// Texts just beyond the limits of the schema, and a number.
fn invalid_texts(schema: &Value) -> Vec<Value> {
    let mut texts = vec![json!(7)];
    if let Some((prefix, letter, max)) = code(schema) {
        let long = letter.repeat(max as usize + 1);
        texts.extend(["", &long, "\u{fc}", "a b"].map(|rest| format!("{prefix}{rest}").into()));
        return texts;
    }
    match schema["format"].as_str() {
        Some("password") => {
            texts.push(repeat(PASSWORD, number(schema, "minLength") - 1));
            texts.push(repeat(PASSWORD, number(schema, "maxLength") + 1));
        }
        Some("email") => texts.extend([json!("no mail"), address(number(schema, "maxLength") + 1)]),
        Some("currency" | "country") => texts.extend([json!("eu"), json!("EURO"), json!("")]),
        Some("verification-token") => {}
        _ if schema["enum"].is_array() => texts.push(json!("no such name")),
        _ => {
            texts.extend([json!(""), json!(" "), json!("a\u{7}b")]);
            texts.push(repeat("x", number(schema, "maxLength") + 1));
        }
    }
    texts
}

/// A mail address of this length.
fn address(length: u64) -> Value {
    let domain = format!("{0}.{0}.{0}", "d".repeat(60));
    let rest = usize::try_from(length).expect("fits") - domain.len() - ".example".len() - "@.".len();
    let (local, label) = ("a".repeat(rest.min(60)), "e".repeat(rest - rest.min(60)));
    format!("{local}@{label}.{domain}.example").into()
}
