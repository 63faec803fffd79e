//! Tables without borders, and colour in them.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, presets};

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
    table: comfy_table::Table,
    style: Style,
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
        let mut table = comfy_table::Table::new();
        table.load_preset(presets::NOTHING);
        match style.size {
            Some((columns, _)) => {
                table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns);
            }
            None => {
                table.set_content_arrangement(ContentArrangement::Disabled);
            }
        }
        table.set_header(head.iter().map(|name| Cell::new(Paint::Faint.on(name))));
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        Self { table, style: *style }
    }

    /// Aligns these columns to the right.
    pub fn right(mut self, columns: &[usize]) -> Self {
        for &column in columns {
            if let Some(column) = self.table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self
    }

    /// Never wraps these columns: names are there to be copied.
    pub fn whole(mut self, columns: &[usize]) -> Self {
        for &column in columns {
            if let Some(column) = self.table.column_mut(column) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        self
    }

    /// Adds a row. The cells are taken as clean.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.table.add_row(cells.into_iter().map(|cell| if cell.is_empty() { "-".into() } else { cell }));
    }

    /// The table as text, each line without blanks at its end.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for line in self.table.lines() {
            text.push_str(Paint::resolve(&line, &self.style).trim_end());
            text.push('\n');
        }
        text
    }
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
    fn data_cannot_command_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\nc\u{2061}d\u{202e}e"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d\u{fffd}e");
    }
}
