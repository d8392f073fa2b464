// Prints the report of the Khronos glTF validator for each file as one line of JSON: node validate.js FILE…
const fs = require("fs");
const validator = require("gltf-validator");

(async () => {
  for (const path of process.argv.slice(2)) {
    const report = await validator.validateBytes(new Uint8Array(fs.readFileSync(path)));
    console.log(JSON.stringify({ path, ...report.issues, info: report.info }));
  }
})();
