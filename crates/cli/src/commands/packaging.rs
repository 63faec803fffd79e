//! `completions`, `man`, `openapi`: for packagers. None needs an agent.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::context::Context;
use crate::failure::Exit;

/// Prints completions for a shell.
pub fn completions(context: &mut Context, shell: Shell) -> Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "portcullis", &mut text);
    context.text(&String::from_utf8_lossy(&text))?;
    Ok(Exit::Done)
}

/// Prints the manual page, or writes one for each command.
pub fn man(context: &mut Context, dir: Option<&Path>) -> Result<Exit> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    if let Some(dir) = dir {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let written = write_pages(&root, "portcullis", dir)?;
        context.line(&format!("wrote {written} pages to {}", dir.display()))?;
    } else {
        let mut page = Vec::new();
        clap_mangen::Man::new(root).render(&mut page)?;
        context.text(&String::from_utf8_lossy(&page))?;
    }
    Ok(Exit::Done)
}

fn write_pages(command: &clap::Command, name: &str, dir: &Path) -> Result<usize> {
    let page = dir.join(format!("{name}.1"));
    let mut text = Vec::new();
    // clap knows a subcommand by its own word; a page is found by the whole.
    clap_mangen::Man::new(command.clone()).title(name).render(&mut text)?;
    std::fs::write(&page, text).with_context(|| format!("cannot write {}", page.display()))?;
    let mut written = 1;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        written += write_pages(sub, &format!("{name}-{}", sub.get_name()), dir)?;
    }
    Ok(written)
}

/// Prints the description of the API that this version serves.
pub fn openapi(context: &mut Context) -> Result<Exit> {
    let document = portcullis_agent::api::document();
    let text = serde_json::to_string_pretty(&document)? + "\n";
    context.object(&document, |_, _| text)?;
    Ok(Exit::Done)
}
