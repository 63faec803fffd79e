//! Which endpoints a selector means.

use super::Selector;
use crate::model::EndpointSpec;

impl Selector {
    /// Whether it states nothing. Such a one matches nothing either.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether everything that it states holds for `spec`.
    #[must_use]
    pub fn matches(&self, spec: &EndpointSpec) -> bool {
        let workload = &spec.workload;
        let one = |pattern: &Option<String>, text: Option<&str>| {
            pattern.as_deref().is_none_or(|pattern| text.is_some_and(|text| glob(pattern, text)))
        };
        let named = |pattern: &str| {
            [Some(spec.name.as_str()), workload.name.as_deref(), workload.pod.as_deref()]
                .into_iter()
                .flatten()
                .any(|name| glob(pattern, name))
        };
        !self.is_empty()
            && self.name.as_deref().is_none_or(named)
            && self
                .labels
                .iter()
                .all(|(key, pattern)| workload.labels.get(key).is_some_and(|value| glob(pattern, value)))
            && one(&self.network, spec.network.as_deref())
            && one(&self.image, workload.image.as_deref())
            && one(&self.runtime, workload.runtime.as_deref())
            && one(&self.namespace, workload.namespace.as_deref())
            && (self.namespaces.is_empty()
                || self.namespaces.iter().any(|pattern| {
                    workload.namespace.as_deref().is_some_and(|namespace| glob(pattern, namespace))
                }))
            && self.expressions.iter().all(|expression| expression.holds(&workload.labels))
    }

    /// Whether it names this namespace, and not merely a pattern that fits it.
    #[must_use]
    pub fn names_namespace(&self, namespace: &str) -> bool {
        self.namespace.as_deref() == Some(namespace) || self.namespaces.iter().any(|name| name == namespace)
    }
}

/// Whether `text` is as `pattern` says: each `*` stands for any text, also an empty one.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(text) = text.strip_prefix(first).and_then(|text| text.strip_suffix(last)) else {
        return false;
    };
    // The first place where a part fits leaves most room for those behind it.
    middle.split('*').try_fold(text, |text, part| text.split_once(part).map(|(_, rest)| rest)).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::generate::spec;

    #[test]
    fn patterns_mean_what_people_expect() {
        for (pattern, text, fits) in [
            ("web", "web", true),
            ("web", "web-1", false),
            ("web-*", "web-1", true),
            ("web-*", "web-", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("*-1", "web-1", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*b*", "abc", true),
            ("*b*b*", "abc", false),
            ("registry/*:1.*", "registry/a/b:1.27", true),
            ("**", "x", true),
            ("[a]?", "[a]?", true),
            ("ü*", "uber", false),
            ("ü*", "über", true),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern:?} {text:?}");
        }
    }

    /// Every way to split the text, tried one after the other.
    fn slow(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|skip| slow(rest, &text[skip..])),
            Some((c, rest)) => text.split_first().is_some_and(|(t, text)| t == c && slow(rest, text)),
        }
    }

    proptest! {
        #[test]
        fn patterns_agree_with_a_slow_reference(pattern in "[ab*ü]{0,8}", text in "[abü]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(glob(&pattern, &text), slow(&chars(&pattern), &chars(&text)));
        }
    }

    #[test]
    fn everything_stated_must_hold() {
        let mut web = spec("web-1/frontend", "veth0", &["10.0.0.1"]);
        web.network = Some("frontend".into());
        web.workload.name = Some("web-1".into());
        web.workload.image = Some("nginx:1.27".into());
        web.workload.runtime = Some("docker".into());
        web.workload.labels = [("app".to_owned(), "shop".to_owned())].into();
        let select = |text: &str| serde_json::from_str::<Selector>(text).unwrap();
        for (text, fits) in [
            (r#"{}"#, false),
            (r#"{"name": "*"}"#, true),
            (r#"{"name": "web-1"}"#, true),
            (r#"{"name": "web-1/*"}"#, true),
            (r#"{"name": "db"}"#, false),
            (r#"{"labels": {"app": "sh*"}}"#, true),
            (r#"{"labels": {"app": "shop", "tier": "*"}}"#, false),
            (r#"{"network": "front*", "image": "nginx:*", "runtime": "docker"}"#, true),
            (r#"{"network": "front*", "image": "redis:*"}"#, false),
            (r#"{"namespace": "*"}"#, false),
        ] {
            assert_eq!(select(text).matches(&web), fits, "{text}");
        }
        web.workload.pod = Some("web-abc".into());
        web.workload.namespace = Some("shop".into());
        for (text, fits) in [
            (r#"{"name": "web-abc", "namespace": "shop"}"#, true),
            (r#"{"namespaces": ["db", "sh*"]}"#, true),
            (r#"{"namespaces": ["db"]}"#, false),
            (
                r#"{"namespaces": ["*"], "expressions": [{"key": "app", "operator": "In", "values": ["shop", "x"]}]}"#,
                true,
            ),
            (
                r#"{"namespaces": ["*"], "expressions": [{"key": "app", "operator": "NotIn", "values": ["shop"]}]}"#,
                false,
            ),
            (
                r#"{"namespaces": ["*"], "expressions": [{"key": "tier", "operator": "NotIn", "values": ["db"]}]}"#,
                true,
            ),
            (
                r#"{"expressions": [{"key": "app", "operator": "Exists"}, {"key": "tier", "operator": "DoesNotExist"}]}"#,
                true,
            ),
            (r#"{"expressions": [{"key": "tier", "operator": "Exists"}]}"#, false),
        ] {
            assert_eq!(select(text).matches(&web), fits, "{text}");
        }
    }
}
