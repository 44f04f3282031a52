//! Tests of the settings of traces.

use super::with_env;

#[test]
fn traces_are_off_unless_they_have_an_address() {
    assert!(with_env(&[]).expect("valid").traces.is_none());
    let endpoint = ("ORDERWORKS_TRACES_ENDPOINT", "http://127.0.0.1:4318");
    let traces = with_env(&[endpoint, ("ORDERWORKS_TRACES_RATIO", "0.25")]).expect("valid").traces;
    let traces = traces.expect("on");
    assert_eq!(traces.endpoint.as_str(), "http://127.0.0.1:4318/");
    assert!((traces.ratio - 0.25).abs() < f64::EPSILON, "{}", traces.ratio);
    for (name, value) in [
        ("ENDPOINT", "collector:4318"),
        ("ENDPOINT", "http://collector.example:4318"),
        ("ENDPOINT", "grpc://127.0.0.1:4317"),
        ("RATIO", "1.5"),
        ("RATIO", "nan"),
    ] {
        let error = with_env(&[(&format!("ORDERWORKS_TRACES_{name}"), value)]).expect_err(value).to_string();
        assert!(error.contains(&format!("traces.{}", name.to_lowercase())), "{error}");
    }
}
