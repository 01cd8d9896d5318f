// A Java client of mutual TLS that stays: each line of standard input goes to the server, and
// what comes back is printed.
//
//   java Staying.java PORT CA CERT KEY VERSION
//
// Whatever goes wrong is one line on standard output, and exit status 1.

import java.io.BufferedReader;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.Collection;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

public class Staying {
    private static final char[] PASSWORD = "of no store but in memory".toCharArray();

    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(args[0]);
        SSLContext context = context(Path.of(args[1]), Path.of(args[2]), Path.of(args[3]));
        Socket tcp = new Socket("127.0.0.1", port);
        tcp.setTcpNoDelay(true);
        try (SSLSocket socket =
                (SSLSocket) context.getSocketFactory().createSocket(tcp, "localhost", port, true)) {
            SSLParameters parameters = socket.getSSLParameters();
            parameters.setProtocols(new String[] {args[4]});
            parameters.setEndpointIdentificationAlgorithm("HTTPS");
            socket.setSSLParameters(parameters);
            BufferedReader answers = reader(socket.getInputStream());
            BufferedReader lines = reader(System.in);
            String line;
            while ((line = lines.readLine()) != null) {
                socket.getOutputStream().write((line + "\n").getBytes(StandardCharsets.UTF_8));
                System.out.println(answers.readLine());
            }
        } catch (Exception error) {
            System.out.println(error);
            System.exit(1);
        }
    }

    private static SSLContext context(Path ca, Path cert, Path key) throws Exception {
        KeyStore trust = empty();
        for (Certificate anchor : certificates(ca)) {
            trust.setCertificateEntry(Integer.toString(trust.size()), anchor);
        }
        TrustManagerFactory verifiers = TrustManagerFactory.getInstance("PKIX");
        verifiers.init(trust);
        KeyStore own = empty();
        Certificate[] chain = certificates(cert).toArray(new Certificate[0]);
        own.setKeyEntry("own", privateKey(key), PASSWORD, chain);
        KeyManagerFactory keys = KeyManagerFactory.getInstance("SunX509");
        keys.init(own, PASSWORD);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), verifiers.getTrustManagers(), null);
        return context;
    }

    private static KeyStore empty() throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        return store;
    }

    private static Collection<? extends Certificate> certificates(Path path) throws Exception {
        try (InputStream in = Files.newInputStream(path)) {
            return CertificateFactory.getInstance("X.509").generateCertificates(in);
        }
    }

    private static PrivateKey privateKey(Path path) throws Exception {
        String base64 = Files.readString(path).replaceAll("-----[A-Z ]+-----|\\s", "");
        byte[] der = Base64.getDecoder().decode(base64);
        return KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(der));
    }

    private static BufferedReader reader(InputStream in) {
        return new BufferedReader(new InputStreamReader(in, StandardCharsets.UTF_8));
    }
}
