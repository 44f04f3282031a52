//! Body of a request to Stripe: `application/x-www-form-urlencoded`, with `a[b]` for members.

use std::fmt::Display;

use url::form_urlencoded::byte_serialize;

/// Pairs in the order they were added: equal requests have equal texts.
pub(super) struct Form(String);

impl Form {
    pub(super) fn new() -> Self {
        Self(String::new())
    }

    pub(super) fn with(mut self, name: &str, value: impl Display) -> Self {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.extend(byte_serialize(name.as_bytes()));
        self.0.push('=');
        self.0.extend(byte_serialize(value.to_string().as_bytes()));
        self
    }

    pub(super) fn text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_encoded() {
        let form = Form::new().with("amount", 1250).with("metadata[order_id]", "ord_1&x=\u{f6} y");
        assert_eq!(form.text(), "amount=1250&metadata%5Border_id%5D=ord_1%26x%3D%C3%B6+y");
    }
}
