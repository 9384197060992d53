// The scenarios of ../README.md, by Azure's own clients for JavaScript: scenario.cjs NOUN MODE.
"use strict";

const { connect } = require("./vault.cjs");

const nouns = { secrets: require("./secret_steps.cjs"), keys: require("./key_steps.cjs"), certificates: require("./certificate_steps.cjs") };

async function main(noun, mode) {
  const steps = nouns[noun](connect(mode), mode);
  for (const step of process.env.STEPS.split(" ")) {
    try {
      await steps[step]();
    } catch (e) {
      console.error(`FAIL ${step}: ${e.name}: ${e.message}`);
      process.exit(1);
    }
    console.log("ok", step);
  }
}

main(...process.argv.slice(2));
