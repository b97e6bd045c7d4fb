//! One form for cells that are equal as values: what is hashed is this form.
//!
//! Two cells with one canonical form are equal to PostgreSQL; two equal cells nearly always have
//! one form, and where they do not, PostgreSQL is asked.

use crate::schema::{BaseType, CellType};

/// Appends the canonical form of a cell's payload.
pub(super) fn append(ty: CellType, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    match (ty.base, ty.dimensions) {
        (BaseType::Numeric, 0) => numeric(payload, out),
        // A jsonb begins with its version.
        (BaseType::Jsonb, 0) if payload.len() > 1 => {
            let text = &payload[1..];
            let before = out.len();
            let mut json = Json { text, offset: 0 };
            if json.value(out, 0).is_none() || json.rest() {
                out.truncate(before);
                out.extend_from_slice(text);
            }
        }
        _ => out.extend_from_slice(payload),
    }
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// A numeric without the digits that do not change its value: zeros at its end, and the scale it
/// is shown with. Format: `numeric_send` in PostgreSQL's `numeric.c`.
fn numeric(payload: &[u8], out: &mut Vec<u8>) {
    let Some((header, digits)) = payload.split_at_checked(8) else {
        out.extend_from_slice(payload);
        return;
    };
    let mut digits = digits;
    while let [rest @ .., 0, 0] = digits {
        digits = rest;
    }
    // A zero has no digits, and then no weight and no sign.
    let is_number = header[4..6] == [0, 0] || header[4..6] == [0x40, 0];
    if digits.is_empty() && is_number {
        return;
    }
    out.extend_from_slice(&header[2..6]);
    out.extend_from_slice(digits);
}

/// Reads JSON and writes it with sorted keys, unescaped strings and normal numbers.
struct Json<'a> {
    text: &'a [u8],
    offset: usize,
}

impl Json<'_> {
    /// Nesting beyond this is left as it is.
    const DEEPEST: usize = 500;

    fn space(&mut self) {
        while self.text.get(self.offset).is_some_and(u8::is_ascii_whitespace) {
            self.offset += 1;
        }
    }

    /// Whether something follows the value.
    fn rest(&mut self) -> bool {
        self.space();
        self.offset < self.text.len()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.space();
        (*self.text.get(self.offset)? == byte).then(|| self.offset += 1)
    }

    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        if depth > Self::DEEPEST {
            return None;
        }
        self.space();
        match *self.text.get(self.offset)? {
            b'{' => {
                self.offset += 1;
                let mut members: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
                if self.take(b'}').is_none() {
                    loop {
                        let (mut key, mut value) = (Vec::new(), Vec::new());
                        self.space();
                        self.string(&mut key)?;
                        self.take(b':')?;
                        self.value(&mut value, depth + 1)?;
                        members.push((key, value));
                        if self.take(b',').is_none() {
                            self.take(b'}')?;
                            break;
                        }
                    }
                }
                members.sort();
                out.push(b'{');
                for (key, value) in members {
                    out.extend_from_slice(&key);
                    out.extend_from_slice(&value);
                }
                out.push(b'}');
            }
            b'[' => {
                self.offset += 1;
                out.push(b'[');
                if self.take(b']').is_none() {
                    loop {
                        self.value(out, depth + 1)?;
                        if self.take(b',').is_none() {
                            self.take(b']')?;
                            break;
                        }
                    }
                }
                out.push(b']');
            }
            b'"' => self.string(out)?,
            b't' | b'f' | b'n' => {
                let word = self.text[self.offset..]
                    .iter()
                    .take_while(|byte| byte.is_ascii_lowercase())
                    .count();
                out.extend_from_slice(&self.text[self.offset..self.offset + word]);
                self.offset += word;
            }
            _ => self.number(out)?,
        }
        Some(())
    }

    /// Writes a string's length and its text without escapes.
    fn string(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let start = self.offset;
        if *self.text.get(start)? != b'"' {
            return None;
        }
        self.offset += 1;
        loop {
            match *self.text.get(self.offset)? {
                b'\\' => self.offset += 2,
                b'"' => break,
                _ => self.offset += 1,
            }
        }
        self.offset += 1;
        let literal = &self.text[start..self.offset];
        let text: String = serde_json::from_slice(literal).ok()?;
        out.push(b'"');
        out.extend_from_slice(&(text.len() as u32).to_be_bytes());
        out.extend_from_slice(text.as_bytes());
        Some(())
    }

    /// Writes a number as sign, digits without zeros around them, and the power of ten behind.
    fn number(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let rest = &self.text[self.offset..];
        let length =
            rest.iter().take_while(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte)).count();
        let text = std::str::from_utf8(&rest[..length]).ok().filter(|text| !text.is_empty())?;
        self.offset += length;
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (sign, mantissa) = match mantissa.strip_prefix('-') {
            Some(mantissa) => ("-", mantissa),
            None => ("", mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let significant = digits.trim_end_matches('0');
        if significant.is_empty() {
            out.extend_from_slice(b"#0");
            return Some(());
        }
        let power = exponent - fraction.len() as i64 + (digits.len() - significant.len()) as i64;
        out.extend_from_slice(format!("#{sign}{significant}e{power};").as_bytes());
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Vec<u8> {
        let mut payload = vec![1];
        payload.extend_from_slice(text.as_bytes());
        let mut out = Vec::new();
        append(CellType::scalar(BaseType::Jsonb), &payload, &mut out);
        out
    }

    #[test]
    fn equal_values_have_one_form_and_others_do_not() {
        for (a, b) in [
            (r#"{"a":1,"b":[1.0,2]}"#, r#"{ "b": [1, 2.00], "a": 1e0 }"#),
            (r#"{"x":"\u00e9\n"}"#, "{\"x\": \"é\\n\"}"),
            ("100", "1E+2"),
            ("-0.0", "0"),
            ("0.00120", "12e-4"),
        ] {
            assert_eq!(json(a), json(b), "{a} {b}");
        }
        for (a, b) in [
            (r#"{"a":1}"#, r#"{"a":"1"}"#),
            ("[1,2]", "[12]"),
            ("[1,2]", "[2,1]"),
            (r#"["a","b"]"#, r#"["ab"]"#),
            ("0.1", "0.10000000000000001"),
            ("1", "-1"),
            ("null", r#""null""#),
            ("{}", "[]"),
            (r#"{"a":{}}"#, r#"{"a":null}"#),
        ] {
            assert_ne!(json(a), json(b), "{a} {b}");
        }
    }

    #[test]
    fn a_numeric_is_its_value() {
        let form = |payload: &[u8]| {
            let mut out = Vec::new();
            append(CellType::scalar(BaseType::Numeric), payload, &mut out);
            out
        };
        // 1.0 and 1.00: digits, weight 0, sign +, scale; then the digits.
        let one = form(&[0, 1, 0, 0, 0, 0, 0, 1, 0, 1]);
        assert_eq!(one, form(&[0, 1, 0, 0, 0, 0, 0, 2, 0, 1]));
        assert_eq!(one, form(&[0, 2, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0]));
        assert_ne!(one, form(&[0, 1, 0, 1, 0, 0, 0, 1, 0, 1]));
        // Zero, and NaN, which has no digits either.
        assert_eq!(form(&[0, 0, 0, 0, 0, 0, 0, 0]), form(&[0, 0, 0, 0, 0, 0, 0, 5]));
        assert_ne!(form(&[0, 0, 0, 0, 0, 0, 0, 0]), form(&[0, 0, 0, 0, 0xc0, 0, 0, 0]));
    }
}
