//! Escapes, percent signs and backslashes beside and in addresses.

use super::finds;

#[test]
fn encoded_characters_before_an_address_do_not_belong_to_it() {
    for before in ["%20", "%5B", "%3d", "%22", "x=%0A", "\\x20", "\\x0a", "\\u0020", "\\u003c", "%3A", "%E2%80%A6"] {
        for address in ["81.2.69.142", "1.2.3.4", "2606:4700::1111", "fe80::1", "::1", "64:ff9b::102:304"] {
            for after in ["", "%22", "%5D/", "%3Bid", "\\x0a", "&x", "\\u003e"] {
                finds(&format!("{before}{address}{after}"), &[address]);
            }
        }
    }
    finds("u=http://%5B2606:4700::1111%5D/", &["2606:4700::1111"]);
    finds("81.2.69.142\\u201381.2.69.150", &["81.2.69.142", "81.2.69.150"]);
    // A word that nothing parts from an address is a label.
    finds("x2001:db8::1 src:2001:db8::1", &["db8::1", "2001:db8::1"]);
    // A percent sign that encodes nothing.
    finds("LIKE '%2001:db8::1%' OR x LIKE '%81.2.69.142%'", &["2001:db8::1", "81.2.69.142"]);
}

#[test]
fn what_is_encoded_itself_is_the_same_address_or_none() {
    for text in [
        "GET http://%38%31.2.69.142/ HTTP/1.1",
        "wget http://8%31.2.69.142/",
        "curl http://81.2.69.1%34%32:80/x",
        "curl http://81%2e2%2E69.142",
        "curl http://u:p%40@8%31.2.69.142",
    ] {
        finds(text, &["81.2.69.142"]);
    }
    finds("http://0x7f%2e1/ http://%32130706433/", &["127.0.0.1", "127.0.0.1"]);
    for text in [
        "x=%31%39%32.168.1.1",
        "http://81.2.69.142%2eexample.com/",
        "http://81.2.69.142.%65xample.com/",
        "http://%38%31.2.69.142.5/",
        "81.2.69.1%34%32",
        "81.2.69.14%2532",
        "81.2.69.14%u0032",
        "81.2.69.14\\x32",
        "81.2.69.14\\u0032 http://81.2.69.14\\u0032/",
        "\\u0038\\u0031.2.69.142",
        "\\u{38}1.2.69.142",
        "$'\\061\\071\\062.168.1.1'",
        "&#56;1.2.69.142 81.2.69.14&#50;",
        "81.2.69.142%2E5",
        "7%2e81.2.69.142",
        "%32001:db8::1",
        "2001%3Adb8::1 2001:db8::1%3A5 2001:db8::1%32",
        "%20Chrome%2F126.0.0.0",
        "http://\u{ff18}1.2.69.142/ \u{ff18}1.2.69.142 81.2.69.14\u{ff12}",
    ] {
        finds(text, &[]);
    }
    // A digit, a dot or a colon beside an address, in all escapes.
    for (digit, dot, colon) in [
        ("\\\\u0032", "\\\\u002e", "\\\\u003a"),
        ("\\\\\\\\x32", "\\\\\\\\x2e", "\\\\\\\\x3a"),
        ("\\x{32}", "\\x{2e}", "\\x{3a}"),
        ("\\U00000032", "\\U0000002e", "\\U0000003a"),
        ("&amp;#50;", "&amp;#46;", "&amp;#58;"),
        ("&#50;", "&period;", "&colon;"),
        ("&#x32", "&#x2e", "&#x3a;"),
        ("\\062", "\\056", "\\072"),
        ("%25u0032", "%u002e", "%u003a"),
    ] {
        for text in [
            format!("81.2.69.14{digit}"),
            format!("http://81.2.69.14{digit}/"),
            format!("{digit}.2.69.142"),
            format!("81.2.69.142{dot}x.example"),
            format!("http://81.2.69.142{dot}x.example/"),
            format!("2001:db8::1{digit}"),
            format!("2001:db8::1{colon}a"),
        ] {
            finds(&text, &[]);
        }
    }
    for text in [
        "&amp;#56;1.2.69.142 \\x{38}1.2.69.142 7&period;81.2.69.142 &#56.2.69.142",
        "8\\061.2.69.142 \\\\062.2.69.142",
        "\\U0000003201:db8::1 &#50;001:db8::1 &#50ab::1 \\062001:db8::1",
        "2001&colon;db8::1 2001&#58;db8::1 2001\\u{3a}db8::1",
        "81.2.69.142\\.5 81.2.69.142\\.example",
    ] {
        finds(text, &[]);
    }
    finds("\\01281.2.69.142 \\U0000002081.2.69.143 &#x20::1", &["81.2.69.142", "81.2.69.143", "::1"]);
    finds("\\\\62.2.69.142\\share /logs\\101.2.69.142\\101", &["62.2.69.142", "101.2.69.142"]);
    finds("81.2.69.142&amp;x=81.2.69.143&nbsp;81.2.69.144\\\\n", &["81.2.69.142", "81.2.69.143", "81.2.69.144"]);
    finds("ff02::1%31 fec0::1%39", &["ff02::1", "fec0::1"]);
    finds("fe80::1%31 \\\\81.2.69.142\\share &#32;81.2.69.142", &["fe80::1", "81.2.69.142", "81.2.69.142"]);
}

#[test]
fn numbers_and_letters_behind_backslashes_are_parts_of_a_path() {
    for path in [
        r"\\81.2.69.142\64bit\setup.exe",
        r"\\81.2.69.142\60",
        r"\\81.2.69.142\x64\setup.exe",
        r"C:\\inetpub\\81.2.69.142\\x64\\y",
        r"C:\inetpub\81.2.69.142\x64",
    ] {
        finds(path, &["81.2.69.142"]);
        finds(&path.replace('\\', r"\\"), &["81.2.69.142"]);
    }
    for octet in [56, 60, 64, 67, 70, 72] {
        for before in [r"C:\inetpub\", r"DOMAIN\", r"C:\\inetpub\\", r"\\"] {
            finds(&format!(r"{before}{octet}.249.66.1\x"), &[&format!("{octet}.249.66.1")]);
        }
    }
    // Of an address itself.
    for text in [r"81.2.69.14\x32", r"81.2.69.142\x2e5", r"81.2.69.142\x{64}", r"2001:db8::1\x64", r"81.2.69.14\\062"] {
        finds(text, &[]);
    }
}

#[test]
fn percent_signs_that_encode_nothing_stand_before_an_address() {
    for (pattern, address) in [
        ("%192.168.1.1%", "192.168.1.1"),
        ("%100.64.0.1", "100.64.0.1"),
        ("%25192.168.1.1%25", "192.168.1.1"),
        ("%203.0.113.9%", "203.0.113.9"),
        ("%31.2.69.142%", "31.2.69.142"),
        ("%2531.2.69.142%25", "31.2.69.142"),
        ("%81.2.69.142%", "81.2.69.142"),
        // Of two readings the encoded one: a blank.
        ("%203.0.113.9", "3.0.113.9"),
        ("%20203.0.113.9", "203.0.113.9"),
    ] {
        finds(&format!("x LIKE '{pattern}'"), &[address]);
        finds(&format!("' OR ip LIKE '{pattern}' --"), &[address]);
    }
}
