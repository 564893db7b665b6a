//! The fields of a cron rule, checked before the parser sees them: it explains less and accepts more.

use crate::model::plural;
use crate::model::schedule::wall::Follows;

/// A field: what it holds, and the least and the greatest number.
struct CronField {
    title: &'static str,
    least: u32,
    greatest: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const FIELDS: [CronField; 6] = [
    field("second", (0, 59), &[]),
    field("minute", (0, 59), &[]),
    field("hour", (0, 23), &[]),
    field("day", (1, 31), &[]),
    field("month", (1, 12), &MONTHS),
    field("weekday", (0, 7), &WEEKDAYS),
];

const fn field(
    title: &'static str,
    (least, greatest): (u32, u32),
    names: &'static [&'static str],
) -> CronField {
    CronField {
        title,
        least,
        greatest,
        names,
    }
}

/// The fields of a rule, five or six; the error says what is wrong with them.
pub(super) fn check(text: &str) -> Result<(), String> {
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    if !(5..=6).contains(&words.len()) {
        let has = plural::count(words.len() as u64, "field");
        return Err(format!("it has {has}, and 5 or 6 are needed"));
    }
    let fields = FIELDS.iter().rev().zip(words.iter().rev());
    for (field, word) in fields.rev() {
        let word = word.to_ascii_uppercase();
        word.split(',').try_for_each(|part| field.check(part))?;
    }
    Ok(())
}

/// Whether there is a wildcard in the minute or the hour.
pub(super) fn follows(text: &str) -> Follows {
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    let time = &words[words.len().saturating_sub(5)..words.len().saturating_sub(3)];
    match time.iter().any(|word| word.starts_with(['*', '?'])) {
        true => Follows::Clock,
        false => Follows::TimesOfDay,
    }
}

impl CronField {
    /// One part of a list: `*`, a value, a range, with or without a step, or one of the letters.
    fn check(&self, part: &str) -> Result<(), String> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        if let Some(step) = step {
            self.check_step(step)?;
        }
        match range.split_once('-') {
            _ if range == "*" || range == "?" => Ok(()),
            Some((from, to)) => {
                let (low, high) = (self.value(from, part)?, self.value(to, part)?);
                // Sunday is 0 and 7.
                let is_sunday = self.title == "weekday" && high == 0;
                match low <= high || is_sunday {
                    true => Ok(()),
                    false => Err(format!("{} {range} runs backwards", self.title)),
                }
            }
            None => self.check_one(range, part),
        }
    }

    fn check_one(&self, word: &str, part: &str) -> Result<(), String> {
        let (value, letter) = match self.title {
            "day" if word == "L" || word == "LW" => return Ok(()),
            "day" => (word.strip_suffix('W').unwrap_or(word), None),
            "weekday" => match word.split_once('#') {
                Some((day, nth)) => (day, Some(nth)),
                None => (word.strip_suffix('L').unwrap_or(word), None),
            },
            _ => (word, None),
        };
        self.value(value, part)?;
        match letter {
            Some(nth) if !matches!(nth, "1" | "2" | "3" | "4" | "5" | "L") => Err(format!(
                "weekday {word}: the number after # is out of range (1–5)"
            )),
            _ => Ok(()),
        }
    }

    /// A number in range, or a name.
    fn value(&self, word: &str, part: &str) -> Result<u32, String> {
        if let Some(at) = self.names.iter().position(|name| *name == word) {
            return Ok(self.least + u32::try_from(at).unwrap_or_default());
        }
        let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number {
            return Err(match part {
                "" => format!("nothing between two commas in the {} field", self.title),
                part => format!("'{part}' in the {} field", self.title),
            });
        }
        let number = word.parse().ok();
        number
            .filter(|number| (self.least..=self.greatest).contains(number))
            .ok_or_else(|| {
                let CronField {
                    title,
                    least,
                    greatest,
                    ..
                } = self;
                format!("{title} {word} is out of range ({least}–{greatest})")
            })
    }

    fn check_step(&self, step: &str) -> Result<(), String> {
        let CronField {
            title, greatest, ..
        } = self;
        match step.parse::<u32>() {
            Ok(step) if (1..=*greatest).contains(&step) => Ok(()),
            Ok(_) => Err(format!(
                "a step of {step} for the {title} is out of range (1–{greatest})"
            )),
            Err(_) => Err(format!("the step '{step}' of the {title} is not a number")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_out_of_range_is_named_with_its_field_and_the_range() {
        for (rule, said) in [
            ("61 * * * *", "minute 61 is out of range (0–59)"),
            ("60 * * * * *", "second 60 is out of range (0–59)"),
            ("0 60 * * * *", "minute 60 is out of range (0–59)"),
            ("0 24 * * *", "hour 24 is out of range (0–23)"),
            ("0 0 0 * *", "day 0 is out of range (1–31)"),
            ("0 0 32 * *", "day 32 is out of range (1–31)"),
            ("0 0 32W * *", "day 32 is out of range (1–31)"),
            ("0 0 * 0 *", "month 0 is out of range (1–12)"),
            ("0 0 * 13 *", "month 13 is out of range (1–12)"),
            ("0 0 * * 8", "weekday 8 is out of range (0–7)"),
            ("0 0 * * 8L", "weekday 8 is out of range (0–7)"),
            (
                "0 0 * * MON#6",
                "weekday MON#6: the number after # is out of range (1–5)",
            ),
            ("0-60 * * * *", "minute 60 is out of range (0–59)"),
            ("1,2,61 * * * *", "minute 61 is out of range (0–59)"),
            ("5-61/5 * * * *", "minute 61 is out of range (0–59)"),
            (
                "99999999999 * * * *",
                "minute 99999999999 is out of range (0–59)",
            ),
            (
                "*/0 * * * *",
                "a step of 0 for the minute is out of range (1–59)",
            ),
            (
                "0 */24 * * *",
                "a step of 24 for the hour is out of range (1–23)",
            ),
            ("*/X * * * *", "the step 'X' of the minute is not a number"),
            ("0 17-9 * * *", "hour 17-9 runs backwards"),
            (
                "1,,2 * * * *",
                "nothing between two commas in the minute field",
            ),
            ("1- * * * *", "'1-' in the minute field"),
            ("0 0 1JAN * *", "'1JAN' in the day field"),
        ] {
            assert_eq!(check(rule), Err(said.to_owned()), "{rule}");
        }
    }

    #[test]
    fn only_a_wildcard_in_the_minute_or_the_hour_follows_the_clock() {
        for rule in [
            "* 2 * * *",
            "*/20 2 * * *",
            "0 * * * *",
            "0 */2 * * *",
            "0 0 * * * *",
            "? 2 * * *",
        ] {
            assert_eq!(follows(rule), Follows::Clock, "{rule}");
        }
        for rule in [
            "0 2 * * *",
            "0,30 2 * * *",
            "0-59 2 * * *",
            "0 0-23 * * *",
            "0-59/5 1-3 * * *",
            "0 2,14 28 3 *",
            "* 30 2 * * *",
            "*/10 0 2 * * *",
        ] {
            assert_eq!(follows(rule), Follows::TimesOfDay, "{rule}");
        }
    }
}
