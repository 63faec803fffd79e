use portcullis_kubernetes::publish::{fit, same_content};

use super::*;

#[test]
fn real_objects_have_the_size_that_is_reckoned_with() {
    let sizes = Sizes::measured();
    for pods in [10_u64, 110, 250] {
        let content = Content { pods: (1000..1000 + pods).collect(), ..Content::default() };
        let real = object(3, &status(3, &content, Detail::Whole)).to_string().len() as f64;
        let reckoned = sizes.object(content.pods.len(), 0) as f64;
        assert!((real / reckoned - 1.0).abs() < 0.02, "{real} {reckoned}");
    }
}

#[test]
fn a_slim_map_differs_when_a_whole_one_does() {
    let base = Content { pods: vec![1, 2, 3], ..Content::default() };
    let others = [
        Content { pods: vec![1, 2], ..base.clone() },
        Content { pods: vec![1, 2, 4], ..base.clone() },
        Content { young: vec![3], ..base.clone() },
        Content { generation: 2, ..base.clone() },
        Content { starts: 1, ..base.clone() },
        Content { offenders: vec![2], ..base.clone() },
        Content { cut_off: true, ..base.clone() },
    ];
    for detail in [Detail::Slim, Detail::Whole] {
        let made = |content: &Content| {
            let mut made = status(1, content, detail);
            fit(&mut made);
            made
        };
        assert!(same_content(&made(&base), &made(&Content { pods: vec![3, 2, 1], ..base.clone() })));
        for other in &others {
            assert!(!same_content(&made(&base), &made(other)), "{other:?}");
        }
    }
}
