//! `apply` and `export`: the whole desired state as one file.

use std::io::Read;
use std::path::Path;

use anyhow::{Context as _, Result};
use portcullis_policy::api::State;

use crate::args::ApplyArgs;
use crate::context::Context;
use crate::failure::{self, Exit, Failure};

mod changes;

use changes::Changes;

/// Makes the desired state what the file says, or shows what that would change.
pub fn apply(context: &mut Context, args: &ApplyArgs) -> Result<Exit> {
    let state = parse(&read(&args.file)?, &args.file)?;
    let client = context.client()?;
    if args.dry_run {
        let changes = Changes::between(&state, &client.state()?, &client.endpoints()?, &client.policies()?)?;
        context.object(&changes, |_, _| changes.to_string())?;
        return Ok(Exit::Done);
    }
    let done = client.apply(&state, args.force, args.confirm_within)?;
    context.object(&done, |_, _| {
        format!("applied: {} created, {} updated, {} removed\n", done.created, done.updated, done.removed)
    })?;
    if let Some(within) = args.confirm_within {
        failure::say(&format!(
            "the state before is back in {within} unless you confirm that you still get in: portcullis confirm"
        ));
    }
    Ok(Exit::Done)
}

/// Has the last change stay.
pub fn confirm(context: &mut Context) -> Result<Exit> {
    let confirmed = context.client()?.confirm()?;
    if !confirmed.confirmed {
        return Err(Failure::not_found("no change waits for a confirmation".to_owned()));
    }
    context.object(&confirmed, |_, _| "confirmed: the last change stays\n".to_owned())?;
    Ok(Exit::Done)
}

/// Prints the desired state; as TOML where no other format was asked for.
pub fn export(context: &mut Context) -> Result<Exit> {
    let state = context.client()?.state()?;
    let text = if context.is_table() { toml::to_string(&state)? } else { String::new() };
    context.object(&state, |_, _| text)?;
    Ok(Exit::Done)
}

fn read(file: &Path) -> Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The ending says which format it is; where it does not, the text does.
fn parse(text: &str, file: &Path) -> Result<State> {
    let shown = if file == Path::new("-") { "standard input".into() } else { file.display().to_string() };
    let wrong = |why: String| Failure::usage(format!("{shown}: {}", why.trim().replace('\n', "; ")));
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension {
        "json" => serde_json::from_str(text).map_err(|error| wrong(error.to_string())),
        "yaml" | "yml" => from_yaml(text).map_err(wrong),
        "toml" => from_toml(text).map_err(wrong),
        _ if text.trim_start().starts_with('{') => {
            serde_json::from_str(text).map_err(|error| wrong(error.to_string()))
        }
        // Every state in TOML has a table; no line of YAML begins with a bracket alone like that.
        _ if text.trim().is_empty() || text.lines().any(|line| line.trim_start().starts_with("[[")) => {
            from_toml(text).map_err(wrong)
        }
        _ => from_yaml(text).map_err(wrong),
    }
}

fn from_yaml(text: &str) -> Result<State, String> {
    serde_yaml_ng::from_str(text).map_err(|error| error.to_string())
}

fn from_toml(text: &str) -> Result<State, String> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        match line {
            Some(line) => format!("line {line}: {}", error.message()),
            None => error.message().to_owned(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str =
        "[[endpoint]]\nname = \"web-1\"\ninterface = { name = \"veth1\" }\naddresses = [\"10.0.0.2\"]\n";

    #[test]
    fn one_state_in_three_languages() {
        let state = parse(TOML, Path::new("-")).unwrap();
        assert_eq!(state.endpoints[0].name, "web-1");
        let yaml = serde_yaml_ng::to_string(&state).unwrap();
        let json = serde_json::to_string_pretty(&state).unwrap();
        let toml = toml::to_string(&state).unwrap();
        for (text, ending) in [(&yaml, "yaml"), (&json, "json"), (&toml, "toml")] {
            assert_eq!(parse(text, Path::new("-")).unwrap(), state, "{text}");
            assert_eq!(parse(text, Path::new(&format!("a.{ending}"))).unwrap(), state, "{text}");
        }
        assert_eq!(parse("", Path::new("-")).unwrap(), State::default());
    }

    #[test]
    fn errors_name_file_line_and_reason() {
        let bad = TOML.replace("10.0.0.2", "0.0.0.0/0");
        let error = parse(&bad, Path::new("gate.toml")).unwrap_err();
        assert_eq!(crate::failure::exit_of(&error), Exit::Usage);
        let text = error.to_string();
        assert!(text.starts_with("gate.toml: line "), "{text}");
        assert!(text.contains("every address"), "{text}");
        let error = parse("[[endpoint]]\nnme = \"x\"\n", Path::new("-")).unwrap_err().to_string();
        assert!(error.starts_with("standard input: line ") && error.contains("nme"), "{error}");
    }
}
