//! What is shown: plain lines, colours and redrawing only on a terminal.

use std::io::{IsTerminal, Write, stdout};

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

/// Standard output.
pub struct Screen {
    terminal: bool,
    colour: bool,
}

impl Screen {
    /// Looks at what standard output is.
    pub fn new() -> Self {
        let terminal = stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        Self { terminal, colour: terminal && std::env::var_os("NO_COLOR").is_none() }
    }

    /// Whether things can be drawn over.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.colour { format!("{style}{text}{PLAIN}") } else { text.to_owned() }
    }

    /// A line.
    pub fn text(&self, line: &str) {
        // Whoever reads us may have gone (`demo | head`); the exit status still tells.
        let _closed = writeln!(stdout(), "{line}");
    }

    /// An empty line.
    pub fn blank(&self) {
        self.text("");
    }

    /// A heading with an empty line above.
    pub fn title(&self, title: &str, what: &str) {
        self.blank();
        let what = if what.is_empty() { String::new() } else { format!("  {}", self.paint(DIM, what)) };
        self.text(&format!("{}{what}", self.paint(BOLD, title)));
    }

    /// A command as it would be typed.
    pub fn command(&self, line: &str) {
        self.text(&format!("  {} {line}", self.paint(DIM, "$")));
    }

    /// A name and what is said of it.
    pub fn pair(&self, name: &str, value: &str) {
        self.text(&format!("  {name:<20}  {value}"));
    }

    /// The same, good or bad.
    pub fn verdict(&self, name: &str, good: bool, value: &str) {
        let mark = if good { self.paint(GREEN, "✓") } else { self.paint(RED, "✗") };
        self.text(&format!("{mark} {name:<20}  {value}"));
    }

    /// The last word.
    pub fn result(&self, held: bool) {
        let (style, text) = if held { (GREEN, "THE GATE HELD") } else { (RED, "THE GATE DID NOT HOLD") };
        let style = format!("{BOLD}{style}");
        self.text(&self.paint(&style, text));
    }

    /// A row of a table of kinds: name, figures, red where something came through that should not.
    pub fn row(&self, name: &str, sent: &str, arrived: &str, remark: &str) {
        self.text(format!("  {name:<42} {sent:>7} {arrived:>8}   {}", self.paint(DIM, remark)).trim_end());
    }

    /// Draws a block of lines over the one before it, which had `before` lines.
    pub fn redraw(&self, before: usize, lines: &[String]) {
        let mut out = String::new();
        if self.terminal && before > 0 {
            out += &format!("\x1b[{before}A\x1b[J");
        }
        for line in lines {
            out += line;
            out.push('\n');
        }
        let _closed = stdout().write_all(out.as_bytes());
        let _closed = stdout().flush();
    }

    /// A table's heading.
    pub fn heading(&self, text: &str) -> String {
        self.paint(DIM, text)
    }
}

/// A number with commas.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
