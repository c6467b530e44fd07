/* Requests with the token of the link, which stands after #: browsers send it to no server and no other page. */

import { request as send } from "./client.js";

const SILENT = "The server does not answer. Nothing that was answered is lost; try again in a moment.";
const token = new URLSearchParams(location.hash.slice(1)).get("t") ?? "";

export function request(path, body) {
  const headers = { Authorization: `Bearer ${token}` }, options = { headers, cache: "no-store" };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  }
  return send(path, options, SILENT);
}
