//! Reader of settings: merges defaults, file and environment, returns typed values, and collects every mistake.

use std::{
    collections::BTreeMap, fmt::Display, net::IpAddr, ops::RangeInclusive, path::Path, str::FromStr,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

const PREFIX: &str = "ORDERWORKS_";
/// Environment variables with the prefix that are no settings: those of the command line, of `ops/services` and of
/// tests.
const NO_SETTINGS: [&str; 4] = ["CONFIG", "PUB_KEY", "SEC_KEY", "SEC_KEY_FILE"];
const NO_SETTINGS_BEFORE: [&str; 2] = ["SERVICES_", "TEST_"];
const HIDDEN: &str = "[hidden]";

pub(super) struct Reader {
    values: Table,
    /// Section and key of settings that no message repeats.
    secrets: &'static [(&'static str, &'static str)],
    faults: Vec<String>,
}

impl Reader {
    /// Fails at once only for a file that cannot be read or is not TOML, as nothing can be checked then.
    pub(super) fn new(
        defaults: &str,
        secrets: &'static [(&'static str, &'static str)],
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> anyhow::Result<Self> {
        let values = defaults.parse::<Table>().context("configuration: shipped defaults")?;
        let mut reader = Self { values, secrets, faults: Vec::new() };
        if let Some(path) = file {
            let fail = |why: String| anyhow!("configuration: {}: {why}", path.display());
            let text = std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
            reader.overlay(text.parse().map_err(|e| fail(position_of(&e, &text)))?, path);
        }
        reader.overlay_environment(environment);
        Ok(reader)
    }

    fn overlay(&mut self, file: Table, path: &Path) {
        for (section, value) in file {
            let Some(Value::Table(known)) = self.values.get_mut(&section) else {
                self.faults.push(format!("{}: there is no section [{section}]", path.display()));
                continue;
            };
            let Value::Table(settings) = value else {
                self.faults.push(format!("{}: {section} must be a section, [{section}]", path.display()));
                continue;
            };
            for (key, value) in settings {
                if known.contains_key(&key) {
                    known.insert(key, value);
                } else {
                    self.faults.push(format!("{}: there is no setting {section}.{key}", path.display()));
                }
            }
        }
    }

    fn overlay_environment(&mut self, environment: impl Iterator<Item = (String, String)>) {
        for (name, text) in environment {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            match self
                .setting_of(rest)
                .and_then(|(section, key)| self.values.get_mut(&section)?.get_mut(&key))
            {
                Some(slot) => *slot = as_typed(&text, slot),
                None if is_no_setting(rest) => {}
                None => self.faults.push(format!("{name}: there is no such setting")),
            }
        }
    }

    /// Section and key of `<SECTION>_<KEY>`. A section's name may hold an underscore itself, so the longest match
    /// counts.
    fn setting_of(&self, name: &str) -> Option<(String, String)> {
        let name = name.to_lowercase();
        let key_in =
            |section: &String| name.strip_prefix(section.as_str())?.strip_prefix('_').map(str::to_owned);
        let known = self.values.keys().filter_map(|section| Some((section.clone(), key_in(section)?)));
        known.max_by_key(|(section, _)| section.len())
    }

    fn is_secret(&self, section: &str, key: &str) -> bool {
        self.secrets.contains(&(section, key))
    }

    pub(super) fn fault(&mut self, section: &str, key: &str, why: &str) {
        self.faults.push(format!("{section}.{key} {why}"));
    }

    /// Reports a mistake if this text is empty although it is needed.
    pub(super) fn require(&mut self, setting: (&str, &str), text: &SecretString, when: &str) {
        if text.expose_secret().is_empty() {
            self.fault(setting.0, setting.1, &format!("must be set when {when}"));
        }
    }

    /// A deserialised value. A mistake is recorded and `fallback` returned, so that reading continues.
    pub(super) fn value<T: DeserializeOwned>(&mut self, section: &str, key: &str, fallback: T) -> T {
        let value = self.values.get(section).and_then(|s| s.get(key)).cloned();
        let read = match value {
            Some(value) => {
                value.clone().try_into().map_err(|e: toml::de::Error| (value, e.message().to_owned()))
            }
            None => Err((Value::Boolean(false), "is missing".to_owned())),
        };
        read.unwrap_or_else(|(value, why)| {
            // The reason may repeat the value as well.
            let text = value.to_string();
            if self.is_secret(section, key) || without_userinfo(&text) != text {
                self.fault(section, key, "is of the wrong type");
            } else {
                self.fault(section, key, &format!("= {text}: {why}"));
            }
            fallback
        })
    }

    pub(super) fn text(&mut self, section: &str, key: &str) -> String {
        self.value(section, key, String::new())
    }

    /// The one of two values whose name is set; the first one after a mistake.
    pub(super) fn either<T: Copy>(&mut self, section: &str, key: &str, [one, other]: [(&str, T); 2]) -> T {
        match self.value(section, key, None::<String>) {
            Some(name) if name == other.0 => other.1,
            Some(name) if name != one.0 => {
                self.fault(section, key, &format!("is unknown: expected `{}` or `{}`", one.0, other.0));
                one.1
            }
            _ => one.1,
        }
    }

    /// A text that parses as `T`.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self, section: &str, key: &str, fallback: T) -> T {
        let text = self.value(section, key, None::<String>);
        text.and_then(|text| self.parse(section, key, &text)).unwrap_or(fallback)
    }

    /// A text that parses as `T`; `None` if it is empty.
    pub(super) fn optional<T: FromStr<Err: Display>>(&mut self, section: &str, key: &str) -> Option<T> {
        let text = self.text(section, key);
        if text.is_empty() { None } else { self.parse(section, key, &text) }
    }

    fn parse<T: FromStr<Err: Display>>(&mut self, section: &str, key: &str, text: &str) -> Option<T> {
        let told = |why| self.fault(section, key, &format!("= \"{}\": {why}", without_userinfo(text)));
        text.parse().map_err(told).ok()
    }

    /// A list of texts that no message repeats.
    pub(super) fn secrets(&mut self, section: &str, key: &str) -> Vec<SecretString> {
        self.secret_values(section, key, "a list of texts, such as [\"one\", \"two\"]")
    }

    /// A table of lists of texts that no message repeats.
    pub(super) fn secret_lists(&mut self, section: &str, key: &str) -> BTreeMap<String, Vec<SecretString>> {
        self.secret_values(section, key, "a table of names and lists of texts, such as { a = [\"…\"] }")
    }

    /// Texts that no message repeats, in the form described.
    fn secret_values<T: DeserializeOwned + Default>(&mut self, section: &str, key: &str, form: &str) -> T {
        let value = self.values.get(section).and_then(|s| s.get(key)).cloned();
        value.and_then(|value| value.try_into().ok()).unwrap_or_else(|| {
            self.fault(section, key, &format!("must be {form}"));
            T::default()
        })
    }

    /// A list of CIDR networks or single addresses.
    pub(super) fn networks(&mut self, section: &str, key: &str) -> Vec<IpNet> {
        self.each(section, key, |text| {
            let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| format!("= \"{text}\": expected an address or a network such as 10.0.0.0/8"))
        })
    }

    /// A list of texts, each read by `parse`, which words a mistake; texts with mistakes are left out.
    pub(super) fn each<T>(
        &mut self,
        section: &str,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let texts: Vec<String> = self.value(section, key, Vec::new());
        let read = |text: String| parse(&text).map_err(|why| self.fault(section, key, &why)).ok();
        texts.into_iter().filter_map(read).collect()
    }

    /// A table of texts that no message repeats.
    pub(super) fn secret_texts(&mut self, section: &str, key: &str) -> BTreeMap<String, SecretString> {
        let form = "a table of names and texts, such as { a = \"…\" }";
        let table: Table = self.secret_values(section, key, form);
        let mut texts = BTreeMap::new();
        for (name, value) in table {
            match value {
                Value::String(text) => drop(texts.insert(name, text.into())),
                _ => self.fault(section, key, &format!("has no text for \"{name}\"")),
            }
        }
        texts
    }

    pub(super) fn within<T>(&mut self, section: &str, key: &str, bounds: RangeInclusive<T>) -> T
    where
        T: DeserializeOwned + PartialOrd + Display + Copy,
    {
        let (low, high) = (*bounds.start(), *bounds.end());
        let number = self.value(section, key, low);
        if !bounds.contains(&number) {
            self.fault(section, key, &format!("= {number}: must be between {low} and {high}"));
        }
        number
    }

    /// A time span of at most a day, far above any sensible value, so that a wrong unit is caught.
    pub(super) fn seconds(&mut self, section: &str, key: &str, least: u64) -> Duration {
        Duration::from_secs(self.within(section, key, least..=86_400))
    }

    /// The merged values, with secrets and the userinfo of addresses replaced.
    pub(super) fn shown(&self) -> Table {
        let mut shown = self.values.clone();
        for (section, settings) in &mut shown {
            for (key, value) in settings.as_table_mut().into_iter().flatten() {
                hide(value, self.is_secret(section, key));
            }
        }
        shown
    }

    /// The error names all mistakes.
    pub(super) fn finish<T>(self, config: T) -> anyhow::Result<T> {
        match self.faults.as_slice() {
            [] => Ok(config),
            [only] => bail!("configuration: {only}"),
            many => bail!("configuration has {} mistakes:\n  {}", many.len(), many.join("\n  ")),
        }
    }
}

/// Parses an environment text as the default's type. Text that does not fit stays text and is rejected by name later.
fn as_typed(text: &str, default: &Value) -> Value {
    if default.is_str() {
        return Value::String(text.to_owned());
    }
    let parsed = format!("v = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("v"));
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn is_no_setting(name: &str) -> bool {
    NO_SETTINGS.contains(&name) || NO_SETTINGS_BEFORE.iter().any(|prefix| name.starts_with(prefix))
}

/// The position where a file stops being TOML. The parser's own message shows the line, which may hold a password.
fn position_of(error: &toml::de::Error, text: &str) -> String {
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return "this is not TOML".to_owned();
    };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("this is not TOML at line {line}, column {column}")
}

fn hide(value: &mut Value, is_secret: bool) {
    match value {
        Value::Table(values) => values.iter_mut().for_each(|(_, value)| hide(value, is_secret)),
        Value::Array(values) if is_secret && !values.is_empty() => *value = Value::String(HIDDEN.to_owned()),
        Value::Array(values) => values.iter_mut().for_each(|value| hide(value, is_secret)),
        Value::String(text) if is_secret && text.is_empty() => {}
        Value::String(text) if !is_secret => *text = without_userinfo(text),
        _ if is_secret => *value = Value::String(HIDDEN.to_owned()),
        _ => {}
    }
}

/// An address without user and password (RFC 3986, section 3.2.1), whether it is valid or not.
fn without_userinfo(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{HIDDEN}@{host}"),
        None => text.to_owned(),
    }
}
