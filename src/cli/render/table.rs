//! Listings: aligned columns for a terminal, tab-separated fields for a pipe, JSON with `--json`.

use std::io::{self, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Row, Width};
use jiff::Timestamp;
use jobq::State;
use jobq::api::json::write_line;
use jobq::api::time::{relative, rfc3339};
use serde::Serialize;

use crate::cli::render::style::Look;
use crate::cli::render::text::{for_tabs, for_terminal};
use crate::cli::render::{Format, Output, Stdout, text};

/// A long listing is aligned in pieces of this number of rows, so that memory stays flat.
const PIECE: usize = 1000;

/// Longer names are cut short.
pub(crate) const NAME_WIDTH: u16 = 24;

/// Between two columns.
pub(crate) const PADDING: u16 = 2;

/// A narrower terminal has no room for spare columns.
const SPARE_WIDTH: u16 = 80;

/// What happens to a column if the terminal is too narrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It stays whole.
    Whole,
    /// It stays whole, with its numbers flush right.
    Number,
    /// A name: it is cut short only where it is very long.
    Name,
    /// It is left out.
    Spare,
    /// It is left out unless there is room for all columns.
    Extra,
    /// It is cut short.
    Shrinks,
}

/// A column: its title and how it fits.
pub(crate) type Column = (&'static str, Fit);

/// A value as a person and as a program read it.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    short: String,
    full: String,
    look: Look,
}

impl Cell {
    pub(crate) fn new(text: impl ToString) -> Cell {
        let text = text.to_string();
        Cell::either(text.clone(), text)
    }

    /// One text for a terminal, another for a pipe.
    pub(crate) fn either(short: impl Into<String>, full: impl Into<String>) -> Cell {
        Cell {
            short: short.into(),
            full: full.into(),
            look: Look::Plain,
        }
    }

    /// A value that may not apply.
    pub(crate) fn maybe(text: Option<impl ToString>) -> Cell {
        text.map_or_else(|| Cell::new(""), Cell::new)
    }

    pub(crate) fn time(at: Option<Timestamp>, now: Timestamp) -> Cell {
        let short = at.map(|at| relative(at, now)).unwrap_or_default();
        Cell::either(short, at.map(rfc3339).unwrap_or_default())
    }

    pub(crate) fn state(state: State) -> Cell {
        Cell::new(state).look(Look::State(state))
    }

    /// The value as a program reads it.
    pub(crate) fn full(&self) -> &str {
        &self.full
    }

    /// The value as a person reads it, and its colour.
    pub(crate) fn shown(&self) -> (&str, Look) {
        (&self.short, self.look)
    }

    #[must_use]
    pub(crate) fn look(mut self, look: Look) -> Cell {
        self.look = look;
        self
    }
}

/// A listing on its way to stdout.
pub(crate) struct Rows<'a> {
    output: &'a Output,
    columns: &'a [Column],
    kept: Vec<Vec<Cell>>,
    out: Stdout,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(output: &'a Output, columns: &'a [Column]) -> Rows<'a> {
        Rows {
            output,
            columns,
            kept: Vec::new(),
            out: output.stdout(),
        }
    }

    /// The next record: its JSON, or a row.
    pub(crate) fn push(
        &mut self,
        json: &impl Serialize,
        row: impl FnOnce() -> Vec<Cell>,
    ) -> io::Result<()> {
        match self.output.format {
            Format::Json => write_line(&mut self.out, json),
            Format::Table | Format::Tabs => self.push_row(row()),
        }
    }

    /// The next row, with a cell for each column.
    pub(crate) fn push_row(&mut self, row: Vec<Cell>) -> io::Result<()> {
        if self.output.format == Format::Table {
            self.kept.push(row);
            if self.kept.len() == PIECE {
                self.write_piece()?;
            }
            return Ok(());
        }
        for (at, cell) in row.iter().enumerate() {
            let tab = if at == 0 { "" } else { "\t" };
            let field = self.output.paint(cell.look, for_tabs(&cell.full));
            write!(self.out, "{tab}{field}")?;
        }
        self.out.write_all(b"\n")
    }

    /// Writes the rest.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.write_piece()?;
        self.out.flush()
    }

    fn write_piece(&mut self) -> io::Result<()> {
        let rows = std::mem::take(&mut self.kept);
        for line in aligned(self.output, self.columns, rows) {
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }
}

/// The lines of a table as a terminal of this width shows it; none where there are no rows.
pub(crate) fn aligned(output: &Output, columns: &[Column], rows: Vec<Vec<Cell>>) -> Vec<String> {
    if rows.is_empty() {
        return Vec::new();
    }
    let mut table = comfy_table::Table::new();
    table.load_style(NOTHING);
    table.force_no_tty();
    if output.color {
        table.enforce_styling();
    }
    table.style_text_only();
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(output.width);
    // No text holds this, so that cells are cut where they must be and not at a blank before.
    table.set_delimiter('\u{1f}');
    let titles = columns
        .iter()
        .map(|(title, _)| Look::Dim.apply(comfy_table::Cell::new(title)));
    table.set_header(one_line(titles.collect()));
    for row in rows {
        let cells = row.into_iter().map(|cell| {
            let text = beginning(&cell.short, 2 * usize::from(output.width));
            cell.look.apply(comfy_table::Cell::new(for_terminal(text)))
        });
        table.add_row(one_line(cells.collect()));
    }
    let widths = table.column_max_content_widths();
    let hidden = hidden(columns, &widths, output.width);
    let columns = columns.iter().zip(widths).zip(hidden);
    for (column, (((_, fit), widest), is_hidden)) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, PADDING));
        let constraint = match is_hidden {
            true => Some(ColumnConstraint::Hidden),
            false => constraint(*fit, widest),
        };
        if let Some(constraint) = constraint {
            column.set_constraint(constraint);
        }
        if *fit == Fit::Number {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// A column that is cut short says something from this width on.
const LEAST_SHRUNK: u16 = 12;

/// Which columns a terminal of this width does without: the least important first, until what is left
/// has room. The first column stays, and so does the first that is shown whole.
pub(crate) fn hidden(columns: &[Column], widths: &[u16], width: u16) -> Vec<bool> {
    let all = |of: &dyn Fn(Fit) -> bool| -> Vec<usize> {
        let which = columns.iter().enumerate().filter(|(_, (_, fit))| of(*fit));
        which.map(|(at, _)| at).collect()
    };
    let needs = |at: usize, least: u16| {
        let wanted = match columns[at].1 {
            Fit::Name => widths[at].min(NAME_WIDTH),
            Fit::Shrinks => widths[at].min(least),
            _ => widths[at],
        };
        usize::from(wanted.saturating_add(PADDING))
    };
    let mut hidden = vec![false; columns.len()];
    let is_wide = |hidden: &[bool], least: u16| {
        let shown = (0..columns.len()).filter(|at| !hidden[*at]);
        shown.map(|at| needs(at, least)).sum::<usize>() > usize::from(width)
    };
    if width < SPARE_WIDTH {
        for at in all(&|fit| fit == Fit::Spare) {
            hidden[at] = true;
        }
    }
    // Extra columns are shown where everything has all the room that it wants.
    if is_wide(&hidden, u16::MAX) {
        for at in all(&|fit| fit == Fit::Extra) {
            hidden[at] = true;
        }
    }
    let whole = all(&|fit| fit == Fit::Whole);
    let less: [Vec<usize>; 3] = [
        all(&|fit| fit == Fit::Name),
        all(&|fit| fit == Fit::Number),
        whole.into_iter().skip(1).collect(),
    ];
    for at in less.iter().flat_map(|some| some.iter().rev()) {
        if *at != 0 && is_wide(&hidden, LEAST_SHRUNK) {
            hidden[*at] = true;
        }
    }
    hidden
}

fn constraint(fit: Fit, widest: u16) -> Option<ColumnConstraint> {
    match fit {
        Fit::Name if widest > NAME_WIDTH => {
            // A column's width counts its padding.
            Some(ColumnConstraint::Absolute(Width::Fixed(
                NAME_WIDTH + PADDING,
            )))
        }
        Fit::Whole | Fit::Number | Fit::Name | Fit::Spare | Fit::Extra => {
            Some(ColumnConstraint::ContentWidth)
        }
        Fit::Shrinks => None,
    }
}

/// The first `most` characters: no more of a large payload need be measured.
fn beginning(text: &str, most: usize) -> &str {
    text.char_indices()
        .nth(most)
        .map_or(text, |(end, _)| &text[..end])
}

fn one_line(cells: Vec<comfy_table::Cell>) -> Row {
    let mut row = Row::from(cells);
    row.max_height(1);
    row
}

/// `name  value` lines, for one thing in full.
pub(crate) struct Facts<'a> {
    output: &'a Output,
    width: usize,
    facts: Vec<(String, Cell)>,
}

impl<'a> Facts<'a> {
    /// Facts whose names are at most `width` long.
    pub(crate) fn new(output: &'a Output, width: usize) -> Facts<'a> {
        Facts {
            output,
            width,
            facts: Vec::new(),
        }
    }

    /// A fact for a terminal or for a pipe, as the cell has both.
    pub(crate) fn add(&mut self, name: &str, cell: Cell) {
        self.facts.push((name.to_owned(), cell));
    }

    /// A fact that may not apply.
    pub(crate) fn add_some(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.add(name, Cell::new(value));
        }
    }

    /// The facts with their names.
    pub(crate) fn into_pairs(self) -> Vec<(String, Cell)> {
        self.facts
    }

    pub(crate) fn write(self, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        for (name, cell) in &self.facts {
            if self.output.format == Format::Table {
                let name = self
                    .output
                    .paint(Look::Dim, format!("{name:<0$}", self.width));
                let value = text::block(&cell.short, self.width + 2);
                writeln!(out, "{name}  {}", self.output.paint(cell.look, value))?;
            } else {
                let value = self.output.paint(cell.look, for_tabs(&cell.full));
                writeln!(out, "{name}\t{value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        ("ID", Fit::Number),
        ("STATE", Fit::Whole),
        ("WHAT", Fit::Shrinks),
    ];

    fn output(width: u16) -> Output {
        Output {
            format: Format::Table,
            color: false,
            quiet: false,
            width,
        }
    }

    fn row(id: u32, what: &str) -> Vec<Cell> {
        vec![Cell::new(id), Cell::state(State::Pending), Cell::new(what)]
    }

    #[test]
    fn only_the_column_that_may_shrink_is_cut() {
        let rows = vec![
            row(7, "a rather long description that goes on"),
            row(12, "short"),
        ];
        assert_eq!(
            aligned(&output(40), &COLUMNS, rows),
            [
                "ID  STATE    WHAT",
                " 7  pending  a rather long descriptio…",
                "12  pending  short",
            ]
        );
    }

    #[test]
    fn a_narrow_terminal_does_without_spare_columns() {
        let columns = [
            ("ID", Fit::Number),
            ("PRIORITY", Fit::Spare),
            ("WHAT", Fit::Shrinks),
        ];
        let lines = |width| {
            let row = vec![Cell::new(7), Cell::new("normal"), Cell::new("x")];
            aligned(&output(width), &columns, vec![row])
        };
        assert_eq!(lines(80), ["ID  PRIORITY  WHAT", " 7  normal    x"]);
        assert_eq!(lines(79), ["ID  WHAT", " 7  x"]);
    }

    #[test]
    fn an_extra_column_is_shown_where_there_is_room_for_all() {
        let columns = [
            ("NAME", Fit::Name),
            ("CRON", Fit::Whole),
            ("MISSED", Fit::Extra),
        ];
        let lines = |width| {
            let row = vec![
                Cell::new("n".repeat(30)),
                Cell::new("@daily"),
                Cell::new("once"),
            ];
            aligned(&output(width), &columns, vec![row])
        };
        let name = format!("{}…", "n".repeat(23));
        assert_eq!(lines(42)[1], format!("{name}  @daily  once"));
        assert_eq!(lines(41)[1], format!("{name}  @daily"));
    }

    /// The columns of `jobq list`.
    const LIST: [Column; 8] = [
        ("ID", Fit::Number),
        ("STATE", Fit::Whole),
        ("KIND", Fit::Name),
        ("QUEUE", Fit::Name),
        ("PRIORITY", Fit::Spare),
        ("TRY", Fit::Number),
        ("WHEN", Fit::Whole),
        ("WHAT", Fit::Shrinks),
    ];

    #[test]
    fn a_narrow_terminal_shows_what_a_job_is_before_its_queue() {
        let lines = |width| {
            let words = [
                "1",
                "completed",
                "exec",
                "default",
                "normal",
                "1",
                "12m ago",
            ];
            let mut row: Vec<Cell> = words.map(Cell::new).into();
            row.push(Cell::new("convert cat.jpg -resize 800 small/cat.jpg"));
            let lines = aligned(&output(width), &LIST, vec![row]);
            assert!(
                lines
                    .iter()
                    .all(|line| line.chars().count() <= width.into()),
                "{lines:?}"
            );
            lines[0]
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(lines(80).len(), 8);
        assert_eq!(
            lines(60),
            ["ID", "STATE", "KIND", "QUEUE", "TRY", "WHEN", "WHAT"]
        );
        assert_eq!(lines(40), ["ID", "STATE", "WHEN", "WHAT"]);
        assert_eq!(lines(30), ["ID", "STATE", "WHAT"]);
        assert_eq!(lines(24), ["ID", "STATE", "WHAT"]);
    }

    #[test]
    fn only_a_very_long_name_is_cut() {
        let columns = [("KIND", Fit::Name), ("WHAT", Fit::Shrinks)];
        let row = vec![Cell::new("k".repeat(30)), Cell::new("w".repeat(30))];
        let lines = aligned(&output(40), &columns, vec![row]);
        assert_eq!(
            lines[1],
            format!("{}…  {}…", "k".repeat(23), "w".repeat(11))
        );
    }

    #[test]
    fn line_ends_in_a_cell_stay_on_its_line() {
        let lines = aligned(&output(80), &COLUMNS, vec![row(1, "two\nlines")]);
        assert_eq!(lines[1], " 1  pending  two lines");
    }

    #[test]
    fn without_rows_there_is_no_header() {
        assert!(aligned(&output(80), &COLUMNS, Vec::new()).is_empty());
    }
}
