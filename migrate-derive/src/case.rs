//! Naming rules: what `rename_all` and `column_case` make of a Rust name.
//!
//! The rules and their results are serde's, so that documents written through serde are read by
//! the same word.

/// A naming rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Lower,
    Upper,
    Pascal,
    Camel,
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

/// The rules by the names that attributes give them.
pub(crate) const CASES: [(&str, Case); 8] = [
    ("lowercase", Case::Lower),
    ("UPPERCASE", Case::Upper),
    ("PascalCase", Case::Pascal),
    ("camelCase", Case::Camel),
    ("snake_case", Case::Snake),
    ("SCREAMING_SNAKE_CASE", Case::ScreamingSnake),
    ("kebab-case", Case::Kebab),
    ("SCREAMING-KEBAB-CASE", Case::ScreamingKebab),
];

impl Case {
    /// The rule of that name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        CASES.iter().find(|(known, _)| *known == name).map(|(_, case)| *case)
    }

    /// The rule applied to the name of a field, which is in snake case.
    pub(crate) fn field(self, name: &str) -> String {
        match self {
            Self::Lower | Self::Snake => name.to_owned(),
            Self::Upper | Self::ScreamingSnake => name.to_ascii_uppercase(),
            Self::Pascal => {
                name.split('_').map(|word| first(word, u8::to_ascii_uppercase)).collect()
            }
            Self::Camel => first(&Self::Pascal.field(name), u8::to_ascii_lowercase),
            Self::Kebab => name.replace('_', "-"),
            Self::ScreamingKebab => name.to_ascii_uppercase().replace('_', "-"),
        }
    }

    /// The rule applied to the name of a variant, which is in Pascal case.
    pub(crate) fn variant(self, name: &str) -> String {
        match self {
            Self::Pascal => name.to_owned(),
            Self::Lower => name.to_ascii_lowercase(),
            Self::Upper => name.to_ascii_uppercase(),
            Self::Camel => first(name, u8::to_ascii_lowercase),
            Self::Snake => {
                let mut snake = String::new();
                for (position, letter) in name.char_indices() {
                    if position > 0 && letter.is_uppercase() {
                        snake.push('_');
                    }
                    snake.push(letter.to_ascii_lowercase());
                }
                snake
            }
            Self::ScreamingSnake => Self::Snake.variant(name).to_ascii_uppercase(),
            Self::Kebab => Self::Snake.variant(name).replace('_', "-"),
            Self::ScreamingKebab => Self::ScreamingSnake.variant(name).replace('_', "-"),
        }
    }
}

/// The word with its first letter changed, if that is an ASCII letter.
fn first(word: &str, change: fn(&u8) -> u8) -> String {
    match word.as_bytes().first() {
        Some(byte) if byte.is_ascii() => format!("{}{}", change(byte) as char, &word[1..]),
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_on_fields() {
        for (name, expected) in [
            (
                "created_at",
                [
                    "created_at",
                    "CREATED_AT",
                    "CreatedAt",
                    "createdAt",
                    "created_at",
                    "CREATED_AT",
                    "created-at",
                    "CREATED-AT",
                ],
            ),
            ("v", ["v", "V", "V", "v", "v", "V", "v", "V"]),
            (
                "line_2",
                ["line_2", "LINE_2", "Line2", "line2", "line_2", "LINE_2", "line-2", "LINE-2"],
            ),
            ("_id", ["_id", "_ID", "Id", "id", "_id", "_ID", "-id", "-ID"]),
            (
                "größe_ä",
                [
                    "größe_ä",
                    "GRößE_ä",
                    "Größeä",
                    "größeä",
                    "größe_ä",
                    "GRößE_ä",
                    "größe-ä",
                    "GRößE-ä",
                ],
            ),
        ] {
            let found: Vec<_> = CASES.iter().map(|(_, case)| case.field(name)).collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn every_rule_on_variants() {
        for (name, expected) in [
            (
                "InProgress",
                [
                    "inprogress",
                    "INPROGRESS",
                    "InProgress",
                    "inProgress",
                    "in_progress",
                    "IN_PROGRESS",
                    "in-progress",
                    "IN-PROGRESS",
                ],
            ),
            ("A", ["a", "A", "A", "a", "a", "A", "a", "A"]),
            (
                "V2Beta",
                [
                    "v2beta", "V2BETA", "V2Beta", "v2Beta", "v2_beta", "V2_BETA", "v2-beta",
                    "V2-BETA",
                ],
            ),
            ("DEMO", ["demo", "DEMO", "DEMO", "dEMO", "d_e_m_o", "D_E_M_O", "d-e-m-o", "D-E-M-O"]),
        ] {
            let found: Vec<_> = CASES.iter().map(|(_, case)| case.variant(name)).collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn names_of_rules_are_exact() {
        assert_eq!(Case::from_name("camelCase"), Some(Case::Camel));
        assert_eq!(Case::from_name("camelcase"), None);
        assert_eq!(Case::from_name(""), None);
    }
}
