use std::time::Instant;
use portcullis_testkit::Lab;
#[test]
fn t() {
    let _ = Lab::new(0);
    for _ in 0..3 {
    let t = Instant::now();
    let lab = Lab::new(3).unwrap();
    eprintln!("build {:?}", t.elapsed());
    let t = Instant::now();
    drop(lab);
    eprintln!("drop {:?}", t.elapsed());
    }
    let mut lab = Lab::new(0).unwrap();
    let t = Instant::now();
    lab.add_pairs("x", 0, 1000).unwrap();
    eprintln!("1000 pairs {:?}", t.elapsed());
    let t = Instant::now();
    lab.remove_pairs(0, 1000).unwrap();
    eprintln!("del pairs {:?}", t.elapsed());
}
