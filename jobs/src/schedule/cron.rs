//! Cron expressions: the civil times that five or six fields match.
//!
//! Fields are minute, hour, day of the month, month, day of the week, with the second before them where there are six;
//! values, names (`jan`, `mon`), ranges, lists, `*`, and steps of a range or of `*`. As in Vixie cron, a day matches if
//! one of its two fields does, unless one of them begins with `*`: then both must. Neither `@daily` nor `L`, `W`, `#`
//! or years. Time zones are in [`super::timing`].

use jiff::civil::{Date, DateTime};

/// Longest expression, in bytes.
const BYTES_MAX: usize = 256;
/// Years searched for the next match. The longest gap, between two 29 February on the same day of the week, is of 40.
const YEARS_MAX: i16 = 50;

const SECOND: Field = Field { name: "second", min: 0, max: 59, names: &[] };
const MINUTE: Field = Field { name: "minute", min: 0, max: 59, names: &[] };
const HOUR: Field = Field { name: "hour", min: 0, max: 23, names: &[] };
const DAY: Field = Field { name: "day of the month", min: 1, max: 31, names: &[] };
const MONTH: Field = Field {
    name: "month",
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
/// Sunday is 0 and 7.
const WEEKDAY: Field = Field {
    name: "day of the week",
    min: 0,
    max: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

/// A parsed expression; each field is a set of bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cron {
    seconds: u64,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether a day has to match both fields.
    both_days: bool,
    /// Whether the hours begin with `*`.
    pub(super) is_hourly: bool,
}

impl Cron {
    /// Parses an expression; an error says which field is wrong and what is allowed there.
    pub(super) fn parse(expression: &str) -> Result<Self, String> {
        if expression.len() > BYTES_MAX {
            return Err(format!("{} bytes, at most {BYTES_MAX}", expression.len()));
        }
        let fields: Vec<&str> = expression.split_whitespace().collect();
        let (second, minute, hour, day, month, weekday) = match fields[..] {
            [minute, hour, day, month, weekday] => ("0", minute, hour, day, month, weekday),
            [second, minute, hour, day, month, weekday] => (second, minute, hour, day, month, weekday),
            _ => {
                let count = fields.len();
                let use_these = "use five (minute, hour, day of the month, month, day of the week) or six";
                return Err(format!("{count} fields; {use_these} (the second before them)"));
            }
        };
        let weekdays = WEEKDAY.parse(weekday)?;
        let cron = Self {
            seconds: SECOND.parse(second)?,
            minutes: MINUTE.parse(minute)?,
            hours: HOUR.parse(hour)?,
            days: DAY.parse(day)?,
            months: MONTH.parse(month)?,
            weekdays: weekdays | (weekdays >> 7),
            both_days: day.starts_with('*') || weekday.starts_with('*'),
            is_hourly: hour.starts_with('*'),
        };
        let any = DateTime::constant(2000, 1, 1, 0, 0, 0, 0);
        if cron.first_from(any).is_none() {
            return Err("it never fires, as no year has such a day".to_owned());
        }
        Ok(cron)
    }

    /// The first matching time at or after `from`, which has no fraction of a second; `None` within [`YEARS_MAX`].
    pub(super) fn first_from(&self, from: DateTime) -> Option<DateTime> {
        let (mut day, mut earliest) = (from.date(), (from.hour(), from.minute(), from.second()));
        let last = from.year().saturating_add(YEARS_MAX);
        while day.year() <= last {
            if !has(self.months, day.month()) {
                day = day.last_of_month();
            } else if self.is_day(day)
                && let Some((hour, minute, second)) = self.next_in_day(earliest)
            {
                return Some(day.at(hour, minute, second, 0));
            }
            day = day.tomorrow().ok()?;
            earliest = (0, 0, 0);
        }
        None
    }

    fn is_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        if self.both_days { day && weekday } else { day || weekday }
    }

    /// The first matching hour, minute and second of a day at or after the given ones.
    fn next_in_day(&self, (hour, minute, second): (i8, i8, i8)) -> Option<(i8, i8, i8)> {
        for h in (hour..24).filter(|&h| has(self.hours, h)) {
            let first = if h == hour { minute } else { 0 };
            for m in (first..60).filter(|&m| has(self.minutes, m)) {
                let first = if (h, m) == (hour, minute) { second } else { 0 };
                if let Some(s) = (first..60).find(|&s| has(self.seconds, s)) {
                    return Some((h, m, s));
                }
            }
        }
        None
    }
}

/// Whether a set contains a value.
const fn has(set: u64, value: i8) -> bool {
    (set >> value) & 1 == 1
}

/// A field's name and values.
struct Field {
    name: &'static str,
    min: u8,
    max: u8,
    /// Names of the values, from `min` on.
    names: &'static [&'static str],
}

impl Field {
    fn parse(&self, text: &str) -> Result<u64, String> {
        text.split(',').try_fold(0_u64, |set, part| Ok(set | self.part(part)?))
    }

    /// The values of one part of a list.
    fn part(&self, part: &str) -> Result<u64, String> {
        let (values, step) = match part.split_once('/') {
            Some((values, step)) => (values, Some(self.step(step)?)),
            None => (part, None),
        };
        let (from, to) = match values.split_once('-') {
            Some((from, to)) => (self.value(from)?, self.value(to)?),
            None if values == "*" => (self.min, self.max),
            None if step.is_some() => {
                return Err(format!("{} `{part}`: a step needs `*` or a range before it", self.name));
            }
            None => self.value(values).map(|value| (value, value))?,
        };
        // `sat-sun` ends with the Sunday after it.
        let to = if to == 0 && from > 0 && self.max == WEEKDAY.max { WEEKDAY.max } else { to };
        if from > to {
            return Err(format!("{} `{part}`: the range runs backwards", self.name));
        }
        Ok((from..=to).step_by(step.unwrap_or(1)).fold(0, |set, value| set | (1_u64 << value)))
    }

    fn step(&self, text: &str) -> Result<usize, String> {
        let step = number(text).filter(|step| (1..=self.max).contains(step));
        step.map(usize::from)
            .ok_or_else(|| format!("{} step `{text}`: use a number from 1 to {}", self.name, self.max))
    }

    fn value(&self, text: &str) -> Result<u8, String> {
        let named = || self.names.iter().zip(self.min..).find(|(name, _)| name.eq_ignore_ascii_case(text));
        let value = number(text).or_else(|| named().map(|(_, value)| value));
        value.filter(|value| (self.min..=self.max).contains(value)).ok_or_else(|| {
            let names = match self.names {
                [first, .., last] => format!(" or {first} to {last}"),
                _ => String::new(),
            };
            format!("{} `{text}`: use {} to {}{names}", self.name, self.min, self.max)
        })
    }
}

/// A number of digits alone.
fn number(text: &str) -> Option<u8> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}
