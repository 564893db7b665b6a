//! What the enums of the file have in common: a number in the file, and a word everywhere else.

/// The words of an enum: `ALL`, `as_str`, `Display`, and `FromStr`, whose error names all words.
macro_rules! words {
    ($Name:ident, $one:literal, $many:literal { $($Variant:ident = $word:literal),+ $(,)? }) => {
        impl $Name {
            /// Every value, in the order of declaration.
            pub const ALL: [$Name; [$($word),+].len()] = [$($Name::$Variant),+];

            /// The word used in JSON, on the command line and in the views.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($Name::$Variant => $word),+
                }
            }
        }

        impl std::fmt::Display for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $Name {
            type Err = $crate::Error;

            fn from_str(word: &str) -> $crate::Result<$Name> {
                let named = $Name::ALL.into_iter().find(|value| value.as_str() == word);
                named.ok_or_else(|| {
                    $crate::Error::invalid(format!(concat!("unknown ", $one, " '{}'"), word))
                        .with_hint(format!(concat!($many, " are {}"), [$($word),+].join(", ")))
                })
            }
        }
    };
}

/// The codes of an enum in the file: `code` and `from_code`, from its discriminants and its `ALL`.
macro_rules! codes {
    ($Name:ident) => {
        impl $Name {
            pub(crate) const fn code(self) -> i64 {
                self as i64
            }

            pub(crate) fn from_code(code: i64) -> Option<$Name> {
                $Name::ALL.into_iter().find(|value| value.code() == code)
            }
        }
    };
}
