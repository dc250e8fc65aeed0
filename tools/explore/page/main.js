import { buildNetwork } from "../layers/network.js";

const description = JSON.parse(document.getElementById("description").textContent);
const network = buildNetwork(description);
document.getElementById("main").textContent = network.names.join(", ");
