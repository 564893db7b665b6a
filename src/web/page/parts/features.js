// What the server can do and for whom: the answer of /features.

import { shared } from "./html.js";

export const features = shared(null);
export const canWrite = () => Boolean(features.get() && !features.get().read_only);
