//! What every command works with: the way to the agent, and the way to the reader.

use std::io::{self, BufWriter, Stdout, Write};
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use crate::args::{DEFAULT_SOCKET, Format, Global};
use crate::client::Client;
use crate::output::Style;

/// What every command works with.
pub struct Context {
    /// Socket of the agent.
    pub socket: PathBuf,
    /// The same, where it was named: on the command line or in the environment.
    pub named_socket: Option<PathBuf>,
    /// How to print.
    pub format: Format,
    /// How tables look.
    pub style: Style,
    out: BufWriter<Stdout>,
}

impl Context {
    /// Looks at the options and at standard output.
    pub fn new(global: &Global) -> Self {
        Self {
            socket: global.socket.clone().unwrap_or_else(|| DEFAULT_SOCKET.into()),
            named_socket: global.socket.clone(),
            format: global.output,
            style: Style::of_stdout(),
            out: BufWriter::new(io::stdout()),
        }
    }

    /// A client of the agent; connects with each request.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::new(self.socket.clone())?)
    }

    /// Prints text as it is.
    pub fn text(&mut self, text: &str) -> Result<()> {
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.flush()?)
    }

    /// Prints one line.
    pub fn line(&mut self, text: &str) -> Result<()> {
        self.text(&format!("{text}\n"))
    }

    /// Prints an object: itself as JSON or YAML, or what `table` makes of it.
    pub fn object<T: Serialize>(
        &mut self,
        object: &T,
        table: impl FnOnce(&Style, bool) -> String,
    ) -> Result<()> {
        let text = match self.format {
            Format::Json => serde_json::to_string_pretty(object)? + "\n",
            Format::Yaml => serde_yaml_ng::to_string(object)?,
            // Which command can be printed as a graph is settled before it runs.
            Format::Table | Format::Dot => table(&self.style, false),
            Format::Wide => table(&self.style, true),
        };
        self.text(&text)
    }

    /// Prints one object of a stream: a line of JSON, a YAML document, or what `line` makes of it.
    pub fn item<T: Serialize>(
        &mut self,
        object: &T,
        line: impl FnOnce(&Style, bool) -> String,
    ) -> Result<()> {
        let text = match self.format {
            Format::Json => serde_json::to_string(object)? + "\n",
            Format::Yaml => format!("---\n{}", serde_yaml_ng::to_string(object)?),
            Format::Table | Format::Dot => line(&self.style, false),
            Format::Wide => line(&self.style, true),
        };
        self.text(&text)
    }

    /// Whether people read this.
    pub fn is_table(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }
}
