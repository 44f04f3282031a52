//! Names of the values of an enum, from one table.

/// Gives an enum `ALL`, `as_str`, `Display` and `FromStr`; the error of a name that is not in the table says what the
/// enum is.
macro_rules! names {
    ($enum:ident, $what:literal, { $($value:ident => $name:literal),+ $(,)? }) => {
        impl $enum {
            /// All values, in the order of their declaration.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$value),+];

            /// The name in the HTTP contract and in stores.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $name),+
                }
            }
        }

        impl std::fmt::Display for $enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $enum {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let found = Self::ALL.into_iter().find(|value| value.as_str() == text);
                found.ok_or_else(|| format!("no {} `{text}`", $what))
            }
        }
    };
}
pub(crate) use names;
