//! Names of an enum's values: one table for writing and for reading them.

/// Implements `ALL`, `as_str` and `parse` for an enum, from its values in order and their names.
macro_rules! names {
    ($enum:ident { $($value:ident: $name:literal),+ $(,)? }) => {
        impl $enum {
            /// All values, in order.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$value),+];

            /// Name in tables, headers, configuration and JSON.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $name),+
                }
            }

            /// The value with this name.
            pub(crate) fn parse(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|value| value.as_str() == name)
            }
        }
    };
}
pub(crate) use names;
