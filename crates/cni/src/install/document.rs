//! A configuration list as text with known places.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::entry::{self, Layout, Settings, quoted};
use crate::PLUGIN_TYPE;
use crate::version::{Version, unsupported};

/// Nothing is left of a list without its only plugin.
const ALONE: &str = "portcullis is the only plugin in it: install a network, or remove the file";

/// A configuration list.
pub(super) struct Document<'t> {
    text: &'t str,
    /// The network's name.
    pub(super) name: String,
    versions: Vec<String>,
    plugins: Vec<Plugin<'t>>,
}

struct Plugin<'t> {
    raw: &'t RawValue,
    place: Range<usize>,
    kind: String,
}

/// The members of a JSON object, in order. A key that comes twice is refused: readers differ in which they
/// take.
pub(super) fn members(text: &str) -> serde_json::Result<Vec<(String, &RawValue)>> {
    struct Members<'a>(Vec<(String, &'a RawValue)>);

    struct InOrder;

    impl<'de> Visitor<'de> for InOrder {
        type Value = Members<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
            let mut found: Vec<(String, &RawValue)> = Vec::new();
            while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                if found.iter().any(|(present, _)| *present == key) {
                    return Err(serde::de::Error::custom(format!("the key `{key}` comes twice")));
                }
                found.push((key, value));
            }
            Ok(Members(found))
        }
    }

    impl<'de> Deserialize<'de> for Members<'de> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(InOrder)
        }
    }

    serde_json::from_str::<Members<'_>>(text).map(|members| members.0)
}

/// The text of one plugin as a list of one, with its own name and version.
pub(super) fn list_of_one(text: &str) -> Result<String, String> {
    let found = members(text).map_err(|error| not_json(&error))?;
    let member = |key: &str| found.iter().find(|(present, _)| present == key).map(|(_, value)| value.get());
    if member("plugins").is_some() {
        return Err("this is a list under a name that runtimes take for a single plugin: rename it to \
                    end in .conflist"
            .to_owned());
    }
    let kind = kind_of(text).ok_or("not a network configuration: it has no `type`")?;
    if kind == PLUGIN_TYPE {
        return Err(ALONE.to_owned());
    }
    let name = member("name").ok_or("not a network configuration: it has no `name`")?;
    let version = member("cniVersion").ok_or_else(no_version)?;
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    // No JSON string has a line's end in it: every line may be moved.
    let plugin: Vec<String> = text.trim().lines().map(|line| format!("    {line}")).collect();
    let lines = [
        "{".to_owned(),
        format!("  \"cniVersion\": {version},"),
        format!("  \"name\": {name},"),
        "  \"plugins\": [".to_owned(),
        plugin.join(end),
        "  ]".to_owned(),
        "}".to_owned(),
    ];
    Ok(lines.join(end) + end)
}

impl<'t> Document<'t> {
    /// Reads a configuration list. Errors say what is wrong in half a sentence.
    pub(super) fn parse(text: &'t str) -> Result<Self, String> {
        let found = members(text).map_err(|error| not_json(&error))?;
        let member = |key: &str| found.iter().find(|(present, _)| present == key).map(|(_, value)| *value);
        let list = member("plugins").ok_or("not a list of plugins: it has no `plugins`")?;
        let raws: Vec<&RawValue> =
            serde_json::from_str(list.get()).map_err(|error| format!("`plugins` is not a list: {error}"))?;
        let mut plugins = Vec::with_capacity(raws.len());
        for raw in raws {
            let kind = kind_of(raw.get()).ok_or_else(|| {
                let shown: String = raw.get().chars().take(60).collect();
                format!("`plugins` has an entry without a `type`: {shown}")
            })?;
            plugins.push(Plugin { raw, place: place(text, raw), kind });
        }
        if plugins.is_empty() {
            return Err("`plugins` is empty: install a network first".to_owned());
        }
        let name = member("name").and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
        let name = name.filter(|name| !name.is_empty()).ok_or("the network has no `name`")?;
        let version = member("cniVersion").map(|raw| text_of(raw, "cniVersion")).transpose()?;
        let mut versions: Vec<String> = version.into_iter().collect();
        if let Some(raw) = member("cniVersions") {
            let further: Vec<String> = serde_json::from_str(raw.get())
                .map_err(|error| format!("`cniVersions` is not a list of versions: {error}"))?;
            versions.extend(further);
        }
        Ok(Self { text, name, versions, plugins })
    }

    /// Whether the plugin can be put into it: others are there, and a version that has chains and is spoken here.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.plugins.iter().all(Plugin::is_ours) {
            return Err(ALONE.to_owned());
        }
        if self.versions.iter().any(|version| Version::named(version).is_some()) {
            return Ok(());
        }
        let version = self.versions.first().ok_or_else(no_version)?;
        Err(unsupported("`cniVersion`", version).details)
    }

    /// Whether the plugin is among them.
    pub(super) fn has_plugin(&self) -> bool {
        self.plugins.iter().any(Plugin::is_ours)
    }

    /// The text with the plugin last, saying what the settings say.
    pub(super) fn with_plugin(&self, settings: &Settings) -> Result<String, String> {
        match self.plugins.iter().rev().find(|plugin| plugin.is_ours()) {
            None => Ok(self.appended(&entry::new(settings, &self.layout()))),
            Some(present) => {
                let text = entry::changed(present.raw, settings);
                let text = text.unwrap_or_else(|| present.raw.get().to_owned());
                let ours = self.plugins.iter().filter(|plugin| plugin.is_ours()).count();
                if ours == 1 && self.plugins.last().is_some_and(Plugin::is_ours) {
                    return Ok(self.replaced(&present.place, &text));
                }
                // Not last, or there twice: what it says is kept, its place is not.
                let without = self.without_plugin()?;
                Ok(Document::parse(&without)?.appended(&text))
            }
        }
    }

    /// The text without the plugin.
    pub(super) fn without_plugin(&self) -> Result<String, String> {
        let Some(position) = self.plugins.iter().position(Plugin::is_ours) else {
            return Ok(self.text.to_owned());
        };
        let place = &self.plugins[position].place;
        let gone = match (position.checked_sub(1), self.plugins.get(position + 1)) {
            (Some(before), _) => self.plugins[before].place.end..place.end,
            (None, Some(after)) => place.start..after.place.start,
            (None, None) => return Err(ALONE.to_owned()),
        };
        let without = self.replaced(&gone, "");
        Document::parse(&without)?.without_plugin()
    }

    fn appended(&self, entry: &str) -> String {
        // A list has at least one plugin: parse sees to that.
        let Some(last) = self.plugins.last() else { return self.text.to_owned() };
        let separator = match self.plugins.as_slice() {
            [.., before, last] => {
                let between = &self.text[before.place.end..last.place.start];
                between.trim_start_matches(|c: char| c != ',').trim_start_matches(',').to_owned()
            }
            _ => {
                let list = &self.text[..last.place.start];
                list[list.trim_end().len()..].to_owned()
            }
        };
        let separator = if separator.is_empty() { self.layout().blank.to_owned() } else { separator };
        self.replaced(&(last.place.end..last.place.end), &format!(",{separator}{entry}"))
    }

    fn layout(&self) -> Layout {
        Layout::of(self.plugins.last().map_or("{}", |plugin| plugin.raw.get()))
    }

    fn replaced(&self, place: &Range<usize>, by: &str) -> String {
        [&self.text[..place.start], by, &self.text[place.end..]].concat()
    }
}

impl Plugin<'_> {
    fn is_ours(&self) -> bool {
        self.kind == PLUGIN_TYPE
    }
}

fn kind_of(plugin: &str) -> Option<String> {
    let found = members(plugin).ok()?;
    let (_, kind) = found.into_iter().find(|(key, _)| key == "type")?;
    serde_json::from_str(kind.get()).ok()
}

fn text_of(raw: &RawValue, key: &str) -> Result<String, String> {
    serde_json::from_str(raw.get()).map_err(|error| format!("{} is no text: {error}", quoted(key)))
}

/// Where a borrowed value stands in the text that it was read from.
fn place(text: &str, raw: &RawValue) -> Range<usize> {
    let start = raw.get().as_ptr().addr() - text.as_ptr().addr();
    start..start + raw.get().len()
}

fn not_json(error: &serde_json::Error) -> String {
    format!("not a JSON object ({error}); runtimes do not read it either, comments are not allowed in it")
}

fn no_version() -> String {
    "it has no `cniVersion`, which means 0.1.0; chains came with 0.3.0: set it to \"1.0.0\" if all its plugins \
     speak that"
        .to_owned()
}
