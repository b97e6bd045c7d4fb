//! Text in HTML and SVG: whatever a name or a value holds, it is shown and never acted on.

use std::fmt::Write as _;

/// A text as the content or the quoted attribute of an element. Characters that cannot be seen, and
/// those that turn the direction of what follows, are written out.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() || turns_direction(c) => {
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

fn turns_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A name whose own direction does not reach beyond it.
pub(crate) fn name(text: &str) -> String {
    format!("<bdi>{}</bdi>", escape(text))
}

/// A name for a drawing that has room for so many characters: its middle is left out.
pub(crate) fn fit(text: &str, chars: usize) -> String {
    let count = text.chars().count();
    if count <= chars || chars < 3 {
        return text.to_owned();
    }
    let head = chars / 2;
    let tail = chars - head - 1;
    let first: String = text.chars().take(head).collect();
    let last: String = text.chars().skip(count - tail).collect();
    format!("{first}…{last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_act() {
        assert_eq!(
            name("<script>alert(\"1\")</script> & 'x'"),
            "<bdi>&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; &#39;x&#39;</bdi>"
        );
        assert_eq!(escape("a\u{202e}b\0"), "a\\u{202e}b\\u{0}");
        assert_eq!(escape("שלום"), "שלום");
    }

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(fit("abcdefgh", 5), "ab…gh");
        assert_eq!(fit("abc", 5), "abc");
    }
}
