//! The `tao` command, as a person uses it.

use std::path::Path;
use std::time::Duration;

use integration_tests::{DevRegion, run_tao};
use serde_json::json;

/// Runs `tao`, expects `code`, and gives the data.
fn tao(cluster: &Path, code: i32, args: &[&str]) -> serde_json::Value {
    let (found, data, talk) = run_tao(cluster, args).unwrap();
    assert_eq!(found, code, "tao {args:?} said {data} {talk}");
    data
}

#[test]
fn a_person_can_walk_through_the_graph() {
    let mut region = DevRegion::start(&["--storage", "memory", "--leaders", "2"]).unwrap();
    assert_eq!(region.ready.storage, "memory");
    let cluster = region.cluster();
    let id = |data: &serde_json::Value| data["id"].to_string();
    let ann = id(&tao(&cluster, 0, &["object", "add", "user", "name=Ann"]));
    let bob = id(&tao(&cluster, 0, &["object", "add", "user", "name=Bob"]));
    let ann_now = tao(&cluster, 0, &["object", "get", &ann]);
    assert_eq!((&ann_now["type"], &ann_now["fields"]["name"]), (&json!("user"), &json!("Ann")));

    assert_eq!(
        tao(&cluster, 0, &["assoc", "add", &ann, "friend", &bob, "--time", "77"])["effect"],
        "created"
    );
    assert_eq!(tao(&cluster, 0, &["assoc", "count", &bob, "friend"])["count"], 1);
    let friends = tao(&cluster, 0, &["assoc", "range", &bob, "friend"]);
    assert_eq!(
        (friends["assocs"][0]["id2"].to_string(), &friends["assocs"][0]["time"]),
        (ann.clone(), &json!(77))
    );
    let again = tao(&cluster, 0, &["assoc", "range", &bob, "friend", "--explain"]);
    assert_eq!(again["explain"]["source"], "the follower's memory", "{again}");

    tao(&cluster, 0, &["object", "update", &ann, "user", "name=Anne"]);
    assert_eq!(tao(&cluster, 0, &["object", "get", &ann])["fields"]["name"], "Anne");
    assert_eq!(tao(&cluster, 0, &["assoc", "delete", &bob, "friend", &ann])["effect"], "deleted");
    assert_eq!(tao(&cluster, 0, &["assoc", "count", &ann, "friend"])["count"], 0);
    tao(&cluster, 0, &["object", "delete", &bob]);
    tao(&cluster, 1, &["object", "get", &bob]);

    let check = tao(&cluster, 0, &["check", "--deep"]);
    assert_eq!(check["difference_count"], 0);
    assert!(
        check["cached_entries"].as_u64().unwrap() > 0 && check["counts"].as_u64().unwrap() > 0,
        "{check}"
    );
    assert_eq!(tao(&cluster, 0, &["status"]).as_array().unwrap().len(), 4);
    assert_eq!(region.process.terminate(Duration::from_secs(10)).unwrap(), 0);
}

#[test]
fn what_is_wrong_is_said_with_its_code() {
    let region = DevRegion::start(&["--storage", "memory"]).unwrap();
    let cluster = region.cluster();
    for (args, code, wanted) in [
        (&["object", "add", "usr"][..], 2, "user"),
        (&["object", "add", "user", "nam=x"], 2, "name"),
        (&["assoc", "range", "1", "friend", "--limit", "60000"], 2, "limit"),
        (&["object", "update", "1", "user", "name=x"], 1, "1"),
        // Shard 65535 of a cluster that has 64.
        (&["object", "get", "18446744073709551615"], 2, "shard"),
    ] {
        let (found, _, talk) = run_tao(&cluster, args).unwrap();
        assert_eq!(found, code, "tao {args:?}: {talk}");
        assert!(talk.contains(wanted), "tao {args:?}: {talk}");
    }
    let (code, _, talk) = run_tao(Path::new("nowhere.json"), &["status"]).unwrap();
    assert_eq!(code, 3, "{talk}");
    assert!(talk.contains("nowhere.json"), "{talk}");
}
