//! Body of a request to Stripe: `application/x-www-form-urlencoded`, with `a[b]` for members.

use std::fmt::Display;

use url::form_urlencoded::Serializer;

/// Pairs in the order they were added: equal requests have equal texts.
pub(super) struct Form(Vec<(&'static str, String)>);

impl Form {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Display) -> Self {
        self.0.push((name, value.to_string()));
        self
    }

    pub(super) fn pairs(self) -> Vec<(&'static str, String)> {
        self.0
    }

    pub(super) fn text(self) -> String {
        Serializer::new(String::new()).extend_pairs(self.0).finish()
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
