//! What the page looks like: by day, by night and on a phone; and pictures of it, for whoever wants some.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::browser::Browser;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Of a text and what is behind it, by WCAG 2.2, 1.4.3.
const CONTRAST_MIN: f64 = 4.5;

/// Where pictures go, which are only made where this is set.
const PICTURES: &str = "BOP_SCREENSHOTS";

/// So many answers have been drawn when a picture is made, so that it has something to show.
const ANSWERS_BEFORE_PICTURES: u32 = 40;

/// The least contrast of all texts that are shown, and the text that has it.
const LEAST_CONTRAST: &str = "(() => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = parts(color).slice(0, 3).map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (parts(color)[3] !== 0) return color;
    }
  };
  const least = { contrast: 21, text: '', texts: 0 };
  for (const node of document.querySelectorAll('body *')) {
    const text = [...node.childNodes].filter((child) => child.nodeType === 3).map((child) => child.data.trim()).join('');
    if (!text || !node.checkVisibility() || ['SCRIPT', 'STYLE', 'NOSCRIPT', 'OPTION'].includes(node.tagName)) continue;
    const [dark, bright] = [light(getComputedStyle(node).color), light(behind(node))].sort((a, b) => a - b);
    const contrast = (bright + 0.05) / (dark + 0.05);
    least.texts += 1;
    if (contrast < least.contrast) Object.assign(least, { contrast, text });
  }
  return least;
})()";

fn prefer(browser: &mut Browser, scheme: &str) {
    let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
    let media = json!({ "features": features });
    browser.call("Emulation.setEmulatedMedia", media);
}

/// By day it is bright, by night dark, and whatever it is every text can be read.
pub(crate) fn check_schemes(browser: &mut Browser) {
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        prefer(browser, scheme);
        grounds.push(browser.value("getComputedStyle(document.body).backgroundColor"));
        let least = browser.value(LEAST_CONTRAST);
        assert!(50 < least["texts"].as_u64().unwrap(), "{least}");
        let contrast = least["contrast"].as_f64().unwrap();
        assert!(CONTRAST_MIN <= contrast, "{scheme}: {least}");
    }
    assert_ne!(grounds[0], grounds[1]);
    browser.call("Emulation.setEmulatedMedia", json!({ "features": [] }));
}

fn be_phone(browser: &mut Browser) {
    let narrow = json!({ "width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true });
    browser.call("Emulation.setDeviceMetricsOverride", narrow);
    browser.wait_for("innerWidth === 360");
}

/// Nothing is cut off on a narrow screen.
pub(crate) fn check_phone(browser: &mut Browser) {
    be_phone(browser);
    assert_eq!(browser.value("document.documentElement.scrollWidth"), 360);
    browser.call("Emulation.clearDeviceMetricsOverride", json!({}));
}

/// Makes pictures, where somebody has said where they go.
pub(crate) fn take_pictures(browser: &mut Browser) {
    let Some(dir) = std::env::var_os(PICTURES).map(PathBuf::from) else {
        return;
    };
    browser.wait_for(&format!(
        "document.body.dataset.answers >= {ANSWERS_BEFORE_PICTURES}"
    ));
    for scheme in ["light", "dark"] {
        prefer(browser, scheme);
        let wide =
            json!({ "width": 1280, "height": 1080, "deviceScaleFactor": 1, "mobile": false });
        browser.call("Emulation.setDeviceMetricsOverride", wide);
        browser.wait_for("innerWidth === 1280");
        take(browser, dir.join(format!("{scheme}.png")), false);
    }
    prefer(browser, "light");
    be_phone(browser);
    take(browser, dir.join("phone.png"), true);
    browser.call("Emulation.clearDeviceMetricsOverride", json!({}));
    browser.call("Emulation.setEmulatedMedia", json!({ "features": [] }));
}

fn take(browser: &mut Browser, path: PathBuf, is_whole: bool) {
    let wanted = json!({ "format": "png", "captureBeyondViewport": is_whole });
    let picture = browser.call("Page.captureScreenshot", wanted);
    std::fs::write(path, of_base64(&picture["data"])).unwrap();
}

fn of_base64(text: &Value) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = text.as_str().unwrap().trim_end_matches('=');
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0, 0_u32);
    for digit in text.bytes() {
        let value = digits.iter().position(|one| *one == digit).unwrap();
        held = held << 6 | u32::try_from(value).unwrap();
        bits += 6;
        if 8 <= bits {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).unwrap());
        }
    }
    bytes
}
