//! Tables without borders, and colour in them.

mod fit;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Width, presets};

use super::Style;

/// What colour a word has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// As it should be.
    Good,
    /// Worth a look.
    Doubtful,
    /// Not as it should be.
    Bad,
    /// Of little weight.
    Faint,
}

/// Columns of text under a head line.
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    style: Style,
    right: Vec<usize>,
    whole: Vec<usize>,
    optional: Vec<usize>,
    name: Option<usize>,
}

// Colour codes would count as width while the table is laid out. Characters without width stand
// for them until it is (the invisible operators of Unicode; `clean` removes them from all data).
const MARKS: [(Paint, char, &str); 4] = [
    (Paint::Good, '\u{2061}', "\x1b[32m"),
    (Paint::Doubtful, '\u{2062}', "\x1b[33m"),
    (Paint::Bad, '\u{2063}', "\x1b[1;31m"),
    (Paint::Faint, '\u{2064}', "\x1b[2m"),
];
const END_MARK: char = '\u{2060}';
const END_CODE: &str = "\x1b[0m";

impl Paint {
    /// Marks `text`; [`Table`] and [`Paint::resolve`] make colours of the marks.
    pub fn on(self, text: &str) -> String {
        let mark = MARKS.iter().find(|(paint, ..)| *paint == self).map_or(END_MARK, |(_, mark, _)| *mark);
        format!("{mark}{text}{END_MARK}")
    }

    /// Makes colours of the marks in `text`, or nothing.
    pub fn resolve(text: &str, style: &Style) -> String {
        let mut resolved = String::with_capacity(text.len());
        for c in text.chars() {
            let code = match MARKS.iter().find(|(_, mark, _)| *mark == c) {
                Some((.., code)) => Some(*code),
                None if c == END_MARK => Some(END_CODE),
                None => None,
            };
            match code {
                Some(code) if style.colour => resolved.push_str(code),
                Some(_) => {}
                None => resolved.push(c),
            }
        }
        resolved
    }
}

/// Text as it may go to a terminal: what a workload chose itself (names of interfaces, commands)
/// must not carry control sequences.
pub fn clean(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
    };
    text.chars().map(|c| if hidden(c) { '\u{fffd}' } else { c }).collect()
}

impl Table {
    /// A table with this head line.
    pub fn new(style: &Style, head: &[&str]) -> Self {
        Self {
            head: head.iter().map(|name| Paint::Faint.on(name)).collect(),
            rows: Vec::new(),
            style: *style,
            right: Vec::new(),
            whole: Vec::new(),
            optional: Vec::new(),
            name: None,
        }
    }

    /// Aligns these columns to the right.
    pub fn right(mut self, columns: &[usize]) -> Self {
        self.right = columns.to_vec();
        self
    }

    /// Never wraps these columns: they hold words that are short by nature.
    pub fn whole(mut self, columns: &[usize]) -> Self {
        self.whole = columns.to_vec();
        self
    }

    /// Wraps this column only where it would take more than its share of the terminal: names are there to be
    /// copied, and a name of 253 characters must leave room for what is said of it.
    pub fn name(mut self, column: usize) -> Self {
        self.name = Some(column);
        self
    }

    /// Leaves these columns out where the terminal is too narrow, the first one first: other commands show
    /// what they hold.
    pub fn optional(mut self, columns: &[usize]) -> Self {
        self.optional = columns.to_vec();
        self
    }

    /// Adds a row. The cells are taken as clean.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows
            .push(cells.into_iter().map(|cell| if cell.is_empty() { "-".into() } else { cell }).collect());
    }

    /// The table as text, each line without blanks at its end.
    pub fn render(&self) -> String {
        let widths = match self.style.size {
            None => vec![Some(None); self.head.len()],
            Some((columns, _)) => fit::widths(&self.needs(columns), &self.optional, columns.into())
                .into_iter()
                .map(|width| width.map(Some))
                .collect(),
        };
        let mut text = String::new();
        for line in self.laid_out(&widths).lines() {
            text.push_str(Paint::resolve(&line, &self.style).trim_end());
            text.push('\n');
        }
        text
    }

    fn needs(&self, columns: u16) -> Vec<fit::Need> {
        let need = |index: usize| {
            let cells =
                || std::iter::once(&self.head).chain(&self.rows).filter_map(move |row| row.get(index));
            let most = cells().map(|cell| width(cell)).max().unwrap_or(0);
            let word = cells().flat_map(|cell| cell.split(' ')).map(width).max().unwrap_or(0);
            if self.name == Some(index) {
                fit::Need::name(most, columns.into())
            } else if self.whole.contains(&index) {
                fit::Need::whole(most)
            } else {
                fit::Need::text(word, most)
            }
        };
        (0..self.head.len()).map(need).collect()
    }

    /// The columns that have a width: a given one, or their own.
    fn laid_out(&self, widths: &[Option<Option<usize>>]) -> comfy_table::Table {
        let shown = |row: &Vec<String>| -> Vec<String> {
            let cells = row.iter().zip(widths).filter(|(_, width)| width.is_some());
            cells.map(|(cell, _)| cell.clone()).collect()
        };
        let mut table = comfy_table::Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(shown(&self.head));
        table.add_rows(self.rows.iter().map(shown));
        let shown = widths.iter().enumerate().filter_map(|(index, width)| Some((index, (*width)?)));
        for (column, (index, width)) in table.column_iter_mut().zip(shown) {
            column.set_padding((0, fit::GAP));
            if let Some(width) = width.and_then(|width| u16::try_from(width).ok()) {
                column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width + fit::GAP)));
            }
            if self.right.contains(&index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }
}

/// Columns that a text takes; the marks of colours take none.
fn width(text: &str) -> usize {
    text.chars().filter(|c| !matches!(c, '\u{2060}'..='\u{2064}')).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(style: &Style) -> String {
        let mut table = Table::new(style, &["NAME", "STATE", "N"]).right(&[2]);
        table.row(["a".into(), Paint::Good.on("active"), "7".into()]);
        table.row(["longer".into(), String::new(), "1234".into()]);
        table.render()
    }

    #[test]
    fn columns_line_up_without_trailing_blanks() {
        assert_eq!(
            sample(&Style::default()),
            "NAME    STATE      N\na       active     7\nlonger  -       1234\n"
        );
    }

    #[test]
    fn colours_do_not_move_columns() {
        let coloured = sample(&Style { colour: true, size: Some((80, 24)) });
        assert!(coloured.contains("\x1b[32mactive\x1b[0m"), "{coloured:?}");
        let mut bare = coloured;
        for code in ["\x1b[32m", "\x1b[2m", "\x1b[0m"] {
            bare = bare.replace(code, "");
        }
        let bare: Vec<_> = bare.lines().map(str::trim_end).collect();
        assert_eq!(bare.join("\n") + "\n", sample(&Style::default()));
    }

    #[test]
    fn a_narrow_terminal_wraps() {
        let style = Style { colour: false, size: Some((24, 24)) };
        let mut table = Table::new(&style, &["NAME", "ADDRESSES"]);
        table.row(["web".into(), "10.0.0.2 10.0.0.3 fd00::2 fd00::3".into()]);
        let text = table.render();
        assert!(text.lines().all(|line| line.chars().count() <= 24), "{text}");
        assert!(text.lines().count() > 2);
        let mut table = Table::new(&style, &["NAME", "WHAT"]).whole(&[0]);
        table.row(["a-name-of-some-length".into(), "what it is".into()]);
        assert!(table.render().contains("a-name-of-some-length"));
    }

    #[test]
    fn a_long_name_leaves_room_for_the_rest() {
        let style = Style { colour: false, size: Some((80, 24)) };
        let name = format!("shop/{}", "n".repeat(248));
        let table = |style: &Style, name: &str| {
            let mut table = Table::new(style, &["NAME", "STATE", "WHY"]).name(0).whole(&[1]);
            table.row([name.to_owned(), "quarantined".into(), "it forged its address again".into()]);
            table.render()
        };
        let text = table(&style, &name);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("quarantined  it forged its address again"), "{text}");
        let whole: String = text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(whole, name);
        assert!(
            table(&style, "a-name-of-30-characters-12345").contains("a-name-of-30-characters-12345  qua")
        );
        // What is read by programs stays on one line.
        assert!(table(&Style::default(), &name).contains(&name));
    }

    #[test]
    fn data_cannot_command_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\nc\u{2061}d\u{202e}e"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d\u{fffd}e");
    }
}
