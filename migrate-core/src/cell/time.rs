//! `timestamp`, `timestamptz` and `date`, from BSON dates alone.
//!
//! BSON counts milliseconds since 1970 in 64 bits, PostgreSQL microseconds since 2000 in a
//! smaller range. A BSON timestamp is a counter of the replication, and no date.

use bson::spec::ElementType;
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Utc};

use super::{CellContext, Limit, Mismatch, Scalar, ToCell, Wrote};
use crate::reject::Reason;
use crate::schema::{BaseType, CellType};
use crate::steps::IsoTime;
use crate::value::Value;

/// 2000-01-01 as Unix milliseconds.
const EPOCH_MS: i64 = 946_684_800_000;
const DAY_MS: i64 = 86_400_000;
/// 4714-11-24 BC (day 0 of the Julian calendar's count) in microseconds since 2000.
const MIN_MICROS: i64 = -211_813_488_000_000_000;
/// 294277-01-01, the first instant that is too late.
const END_MICROS: i64 = 9_223_371_331_200_000_000;
/// 4714-11-24 BC in days since 2000.
const MIN_DAYS: i64 = -2_451_545;
/// 5874898-01-01, the first day that is too late.
const END_DAYS: i64 = 2_147_483_494 - 2_451_545;

const TIMESTAMP_RANGE: &str = "a timestamp between 4714-11-24 BC and 294276-12-31";
const DATE_RANGE: &str = "a date between 4714-11-24 BC and 5874897-12-31";

macro_rules! timestamp {
    ($rust:ty, $base:ident, $name:literal, $utc:expr) => {
        impl ToCell for $rust {
            const TYPE: CellType = CellType::scalar(BaseType::$base);
            type Literal = Self;

            #[inline]
            fn encode(
                value: Value<'_>,
                context: &CellContext,
                out: &mut Vec<u8>,
            ) -> Result<Wrote, Mismatch> {
                if value.kind != ElementType::DateTime {
                    return Err(Mismatch::wrong_type($name, value));
                }
                let time = IsoTime::read(value);
                let micros = (time.millis.checked_sub(EPOCH_MS))
                    .and_then(|millis| millis.checked_mul(1000))
                    .and_then(|micros| micros.checked_add(i64::from(time.nanos / 1000)));
                let micros = check_micros(micros, context.limit)
                    .and_then(|micros| match time.nanos % 1000 {
                        0 => Ok(micros),
                        _ => Err(Reason::TooLong),
                    })
                    .map_err(|reason| Mismatch::found(reason, expected(reason, context), value))?;
                out.extend_from_slice(&micros.to_be_bytes());
                Ok(Wrote::Payload)
            }

            fn write(&self, context: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
                let utc: DateTime<Utc> = $utc(self);
                let refused =
                    |reason| Mismatch::new(reason, expected(reason, context), self.to_string());
                if utc.timestamp_subsec_nanos() % 1000 != 0 {
                    return Err(refused(Reason::TooLong));
                }
                let micros = utc.timestamp_micros().checked_sub(EPOCH_MS * 1000);
                let micros = check_micros(micros, context.limit).map_err(refused)?;
                out.extend_from_slice(&micros.to_be_bytes());
                Ok(Wrote::Payload)
            }
        }

        impl Scalar for $rust {}
    };
}

timestamp!(NaiveDateTime, Timestamp, "timestamp", NaiveDateTime::and_utc);
timestamp!(DateTime<Utc>, TimestampTz, "timestamptz", DateTime::<Utc>::clone);

#[inline]
fn check_micros(micros: Option<i64>, limit: Limit) -> Result<i64, Reason> {
    let micros =
        micros.filter(|micros| (MIN_MICROS..END_MICROS).contains(micros)).ok_or(Reason::Range)?;
    if let Limit::SecondDigits(digits @ 0..6) = limit
        && micros % 10_i64.pow(6 - u32::from(digits)) != 0
    {
        return Err(Reason::TooLong);
    }
    Ok(micros)
}

#[cold]
fn expected(reason: Reason, context: &CellContext) -> String {
    match (reason, context.limit) {
        (Reason::TooLong, Limit::SecondDigits(digits)) => {
            format!("a timestamp with at most {digits} digits of the second")
        }
        (Reason::TooLong, _) => "a timestamp of whole microseconds".to_owned(),
        _ => TIMESTAMP_RANGE.to_owned(),
    }
}

impl ToCell for NaiveDate {
    const TYPE: CellType = CellType::scalar(BaseType::Date);
    type Literal = Self;

    fn encode(value: Value<'_>, _: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        if value.kind != ElementType::DateTime {
            return Err(Mismatch::wrong_type("date", value));
        }
        let IsoTime { millis, nanos } = IsoTime::read(value);
        if millis.rem_euclid(DAY_MS) != 0 || nanos != 0 {
            return Err(Mismatch::found(Reason::Fraction, "a date at midnight UTC", value));
        }
        let days = millis / DAY_MS - EPOCH_MS / DAY_MS;
        if !(MIN_DAYS..END_DAYS).contains(&days) {
            return Err(Mismatch::found(Reason::Range, DATE_RANGE, value));
        }
        out.extend_from_slice(&(days as i32).to_be_bytes());
        Ok(Wrote::Payload)
    }

    fn write(&self, _: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        const EPOCH_DAYS_OF_OUR_ERA: i32 = 730_120;
        let days = self.num_days_from_ce() - EPOCH_DAYS_OF_OUR_ERA;
        if !(MIN_DAYS..END_DAYS).contains(&days.into()) {
            return Err(Mismatch::new(Reason::Range, DATE_RANGE, self.to_string()));
        }
        out.extend_from_slice(&days.to_be_bytes());
        Ok(Wrote::Payload)
    }
}

impl Scalar for NaiveDate {}

#[cfg(test)]
mod tests {
    use super::super::testing::{context, encode, reason, reason_in};
    use super::*;
    use bson::Bson;

    fn date(millis: i64) -> Bson {
        Bson::DateTime(bson::DateTime::from_millis(millis))
    }

    fn written<T: ToCell>(value: &T) -> Vec<u8> {
        let mut out = Vec::new();
        value.write(&context(), &mut out).unwrap();
        out
    }

    #[test]
    fn both_ways_to_a_cell_agree() {
        for millis in [0, -1, 946_684_800_000, 1_700_000_000_123, -62_135_596_800_001] {
            let time = DateTime::<Utc>::from_timestamp_millis(millis).unwrap();
            assert_eq!(encode::<DateTime<Utc>>(&date(millis)), written(&time));
            assert_eq!(encode::<NaiveDateTime>(&date(millis)), written(&time.naive_utc()));
        }
        for days in [0, -1, 10_957, 20_000, -719_528] {
            let day = DateTime::<Utc>::from_timestamp_millis(days * DAY_MS).unwrap().date_naive();
            assert_eq!(encode::<NaiveDate>(&date(days * DAY_MS)), written(&day));
        }
    }

    #[test]
    fn the_ends_of_the_range() {
        let first = MIN_MICROS / 1000 + EPOCH_MS;
        let end = END_MICROS / 1000 + EPOCH_MS;
        encode::<NaiveDateTime>(&date(first));
        encode::<NaiveDateTime>(&date(end - 1));
        for millis in [i64::MIN, first - 1, end, i64::MAX] {
            assert_eq!(reason::<NaiveDateTime>(&date(millis)), Reason::Range);
            assert_eq!(reason::<DateTime<Utc>>(&date(millis)), Reason::Range);
        }
        let first = (MIN_DAYS + EPOCH_MS / DAY_MS) * DAY_MS;
        let end = (END_DAYS + EPOCH_MS / DAY_MS) * DAY_MS;
        encode::<NaiveDate>(&date(first));
        encode::<NaiveDate>(&date(end - DAY_MS));
        assert_eq!(reason::<NaiveDate>(&date(first - DAY_MS)), Reason::Range);
        assert_eq!(reason::<NaiveDate>(&date(end)), Reason::Range);
        assert_eq!(reason::<NaiveDate>(&date(end + 1)), Reason::Fraction);
    }

    #[test]
    fn digits_of_the_second() {
        let mut seconds = context();
        seconds.limit = Limit::SecondDigits(0);
        assert_eq!(reason_in::<NaiveDateTime>(&date(1), &seconds), Reason::TooLong);
        seconds.limit = Limit::SecondDigits(3);
        super::super::testing::encode_in::<NaiveDateTime>(&date(1), &seconds);
        let nanos = DateTime::<Utc>::from_timestamp(0, 1).unwrap();
        assert_eq!(nanos.write(&context(), &mut Vec::new()).unwrap_err().reason(), Reason::TooLong);
    }

    #[test]
    fn only_dates_are_times() {
        assert_eq!(reason::<NaiveDateTime>(&Bson::Int64(0)), Reason::Type);
        assert_eq!(reason::<NaiveDateTime>(&Bson::String("2020-01-01".into())), Reason::Type);
        let counter = Bson::Timestamp(bson::Timestamp { time: 1, increment: 1 });
        assert_eq!(reason::<DateTime<Utc>>(&counter), Reason::Type);
    }
}
