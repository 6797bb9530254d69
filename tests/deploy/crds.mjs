// Validates Kubernetes resources of other people's kinds, a JSON array on stdin, with the schemas that their projects
// publish; prints what is wrong, a line each. The argument is the folder that the packages are installed in.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const packages = {
  "keda.sh": "keda",
  "gateway.networking.k8s.io": "gateway-api",
  "monitoring.coreos.com": "prometheus-operator",
};
for (const resource of JSON.parse(readFileSync(0, "utf8"))) {
  const { apiVersion, kind } = resource;
  const own = packages[apiVersion.split("/")[0]];
  const base = join(process.argv[2], "node_modules/@kubernetes-models", own, apiVersion, kind);
  try {
    const module = await import(pathToFileURL([`${base}.mjs`, `${base}.js`].find(existsSync)));
    new module[kind](resource).validate();
  } catch (error) {
    console.log(`${apiVersion} ${kind}: ${error.message}`);
  }
}
