import "../style.css";
import "./desk.css";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { readMe } from "../act";
import { Desk } from "./Desk";
import { follow } from "./store";

void readMe();
void follow();
createRoot(document.getElementById("root")!).render(<StrictMode><Desk /></StrictMode>);
