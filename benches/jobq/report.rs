//! One plain line for each figure.

use jobq::bench::{median, thousands};

/// A figure with what it is to be compared with.
pub(crate) struct Line {
    name: String,
    value: f64,
    unit: &'static str,
    beside: Vec<String>,
}

/// What a figure is wished to be.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Goal::AtLeast(least) => value >= least,
            Goal::AtMost(most) => value <= most,
        }
    }
}

impl Line {
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Line {
        Line {
            name: name.into(),
            value,
            unit,
            beside: Vec::new(),
        }
    }

    /// From rounds of the thing and of what it is compared with, in turns: the medians, and the median
    /// of the ratios of each round, which the machine's own ups and downs move least.
    pub(crate) fn pair(name: impl Into<String>, unit: &'static str, of: &Pair) -> Line {
        Line::new(name, median(&of.values), unit)
            .beside(of.beside, median(&of.floors))
            .ratio(of.ratio())
    }

    /// Another figure of the same unit.
    pub(crate) fn beside(mut self, what: &str, value: f64) -> Line {
        self.beside.push(format!("{what} {}", number(value)));
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Line {
        self.beside.push(note.into());
        self
    }

    pub(crate) fn ratio(self, ratio: f64) -> Line {
        self.note(format!("ratio {ratio:.2}"))
    }

    /// A goal for the value itself. None where nothing is judged.
    pub(crate) fn goal(self, goal: Option<Goal>) -> Line {
        let value = self.value;
        self.judge("", value, goal)
    }

    /// A goal for the ratio.
    pub(crate) fn goal_of_ratio(self, ratio: f64, goal: Option<Goal>) -> Line {
        self.judge("ratio ", ratio, goal)
    }

    fn judge(self, what: &str, value: f64, goal: Option<Goal>) -> Line {
        let Some(goal) = goal else { return self };
        let wish = match goal {
            Goal::AtLeast(least) => format!(">= {}", short(least)),
            Goal::AtMost(most) => format!("<= {}", short(most)),
        };
        let met = if goal.is_met(value) { "met" } else { "MISSED" };
        self.note(format!("goal {what}{wish}: {met}"))
    }

    pub(crate) fn print(self) {
        let Line {
            name, value, unit, ..
        } = self;
        let beside = match self.beside.as_slice() {
            [] => String::new(),
            beside => format!("({})", beside.join(", ")),
        };
        let line = format!("{name:<42} {:>12} {unit:<9} {beside}", number(value));
        println!("{}", line.trim_end());
    }
}

/// Rounds of two things, in turns.
pub(crate) struct Pair {
    beside: &'static str,
    pub(crate) values: Vec<f64>,
    pub(crate) floors: Vec<f64>,
}

impl Pair {
    /// `beside` names the second.
    pub(crate) fn new(beside: &'static str) -> Pair {
        Pair {
            beside,
            values: Vec::new(),
            floors: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, value: f64, floor: f64) {
        self.values.push(value);
        self.floors.push(floor);
    }

    pub(crate) fn ratio(&self) -> f64 {
        let rounds = self.values.iter().zip(&self.floors);
        median(
            &rounds
                .map(|(value, floor)| value / floor)
                .collect::<Vec<_>>(),
        )
    }
}

fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        format!("{value:.2}")
    } else {
        thousands(value)
    }
}

fn short(value: f64) -> String {
    if value >= 1000.0 {
        thousands(value)
    } else {
        value.to_string()
    }
}
